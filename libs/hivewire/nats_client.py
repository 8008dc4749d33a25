"""nats-py's client, made to go on whatever others send.

nats-server passes on header blocks and reply subjects as they come, of any bytes. nats-py decodes them in the task that
reads the connection, and an error there ends the task without a word: one message of a hostile member would make every
service deaf, and again after each restart, since a command is read again until it is decided.
"""

import re

from nats.aio.client import Client
from nats.protocol import parser

# nats-py takes any white space for the end of a word. For nats-server it is spaces and tabs alone, so a reply subject with
# a form feed in it was a line that could not be parsed, for which the client drops its connection.
parser.MSG_RE = re.compile(rb"\AMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)\r\n")
parser.HMSG_RE = re.compile(
    rb"\AHMSG[ \t]+([^ \t\r\n]+)[ \t]+([^ \t\r\n]+)[ \t]+(([^ \t\r\n]+)[ \t]+)?(\d+)[ \t]+(\d+)\r\n"
)


class Nats(Client):
    """A client that takes a header block which is none for no headers, and a reply subject which is no text for none."""

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        try:
            return await super()._process_headers(headers)
        except (IndexError, ValueError):  # cut short, or not UTF-8
            return None

    def _build_message(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: dict[str, str] | None
    ) -> object:
        try:
            return super()._build_message(sid, subject, reply, data, headers)
        except UnicodeDecodeError:
            return super()._build_message(sid, subject.decode(errors="replace").encode(), b"", data, headers)
