"""nats-py's parser of what the server sends, hardened, and with a shorter way for whole messages.

nats-py takes any white space for the end of a word. For nats-server it is spaces and tabs alone, so a reply subject with a
form feed in it was a line that could not be parsed, for which the client drops its connection.

A read brings dozens of messages under load. nats-py cuts each off the front of its buffer in two steps, with a regular
expression for each; here they are cut out where they lie.
"""

import re
from typing import Any

from nats.protocol import parser

parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(
    rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n"
)

_END = b"\r\n"


class Parser(parser.Parser):
    """Tells its client of each message; all that is not a whole message is left to nats-py."""

    nc: Any

    async def parse(self, data: bytes = b"") -> None:
        """Take in what was read.

        Raises:
            nats.errors.ProtocolError: it is nothing that a server says.
        """
        if self.state == parser.AWAITING_MSG_PAYLOAD:
            missing = self.needed + len(_END) - len(self.buf)
            await super().parse(data[:missing])
            data = data[missing:]
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        rest = await self._take_messages(data)
        if rest:
            await super().parse(rest)

    async def _take_messages(self, data: bytes) -> bytes:
        """Tell of the whole messages at the beginning; returns what follows them."""
        at = 0
        while (line_end := data.find(_END, at)) > 0:
            match data[at:line_end].split(b" "):
                case [b"MSG", subject, number, *reply, size] if len(reply) <= 1:
                    headers_size = b"0"
                case [b"HMSG", subject, number, *reply, headers_size, size] if len(reply) <= 1:
                    pass
                case _:
                    break
            if not (number.isdigit() and headers_size.isdigit() and size.isdigit()):
                break
            begin = line_end + len(_END)
            body, end = begin + int(headers_size), begin + int(size)
            if end + len(_END) > len(data):
                break
            at = end + len(_END)
            reply_to = reply[0] if reply else b""
            await self.nc._process_msg(int(number), subject, reply_to, data[body:end], data[begin:body])  # noqa: SLF001
        return data[at:]
