"""NATS credentials as a client holds them: a user's JWT and the seed that proves it, in the form of a creds file.

The JWT is not verified here, nats-server does that; it is read for the name that the server will know us by.
"""

import base64
import binascii
import json
import re
from dataclasses import dataclass, field
from pathlib import Path

from hivewire.errors import BadUsage
from hivewire.subjects import is_token

_JWT = re.compile(r"-+BEGIN NATS USER JWT-+\s+(\S+)\s+-+END NATS USER JWT-+")
_SEED = re.compile(r"-+BEGIN USER NKEY SEED-+\s+\S+\s+-+END USER NKEY SEED-+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who a connection speaks as. `file` is read again at every reconnect, so that it may be renewed in place."""

    name: str
    text: str = field(repr=False)
    file: Path | None = None

    @classmethod
    def load(cls, file: Path) -> "Credentials":
        """The credentials in `file`.

        Raises:
            BadUsage: it cannot be read, or holds no credentials.
        """
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is not a text file"
            raise BadUsage(f"cannot read the credentials in {file}: {reason}") from error
        return cls(_name(text, str(file)), text, file)

    @classmethod
    def parse(cls, text: str) -> "Credentials":
        """The credentials in `text`.

        Raises:
            BadUsage: it holds none.
        """
        return cls(_name(text, "the given text"), text)


def _name(text: str, where: str) -> str:
    """The name claim of the user's JWT."""
    found = _JWT.search(text)
    if found is None or _SEED.search(text) is None:
        raise BadUsage(f"{where} holds no NATS credentials: take a file that `hivewire token create` wrote")
    try:
        claims = found[1].split(".")[1]
        name = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))["name"]
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error) as error:
        raise BadUsage(f"the JWT in {where} cannot be read: create the credentials again") from error
    if not isinstance(name, str) or not is_token(name):
        raise BadUsage(f"the credentials in {where} are for a name that hivewire cannot use")
    return name
