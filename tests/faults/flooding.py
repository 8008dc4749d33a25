"""An agent that sends forged reports as fast as it is told: a process of its own, which takes nobody's event loop.

It reads lines from its input: how many reports a second to send from now on. After each it prints how many it sent
since the line before.
"""

import asyncio
import sys
import time

import nats

from hivewire import codec, ids
from hivewire.commands.broker import Complete
from hivewire.envelope import Envelope
from hivewire.subjects import BROKER, REPLY_HEADER, Subjects, reply_prefix

STEP_S = 0.01


async def flood(url: str, credentials: str, hive: str, name: str) -> None:
    client = await nats.connect(url, user_credentials=credentials, inbox_prefix=reply_prefix(name))
    refused = 0

    async def receive(message: object) -> None:
        nonlocal refused
        refused += 1

    await client.subscribe(f"{reply_prefix(name)}.>", cb=receive)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    subject, headers = Subjects(hive).command(BROKER, "complete", name), {REPLY_HEADER: f"{reply_prefix(name)}.r"}
    told = asyncio.ensure_future(lines.readline())
    per_second, sent, since = 0.0, 0, time.monotonic()
    while True:
        while per_second and sent < (time.monotonic() - since) * per_second:
            data = codec.raw(Complete("no-such-task", 1, "no-instance"))
            body = codec.encode(Envelope(id=ids.new_id(), type="broker.complete", source="/flood", data=data))
            await client.publish(subject, body, headers=headers)
            sent += 1
            if not sent % 100:
                await asyncio.sleep(0)
        await asyncio.wait([told], timeout=STEP_S)
        if told.done():
            line = told.result()
            print(sent, flush=True)
            if not line:
                break
            per_second, sent, since = float(line), 0, time.monotonic()
            told = asyncio.ensure_future(lines.readline())
    await client.close()


if __name__ == "__main__":
    asyncio.run(flood(*sys.argv[1:]))
