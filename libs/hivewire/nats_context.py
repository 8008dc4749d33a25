"""Contexts of the `nats` command: a server's URL and credentials under a name."""

import os
from pathlib import Path

import msgspec

from hivewire.context import Context
from hivewire.errors import BadUsage


class _NatsContext(msgspec.Struct):
    url: str
    creds: str = ""


def nats_context(name: str, hive: str | None = None) -> Context:
    """The context that `nats context add NAME` wrote.

    Raises:
        BadUsage: there is none, or it cannot be used.
    """
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    file = config / "nats" / "context" / f"{name}.json"
    try:
        found = msgspec.json.decode(file.read_bytes(), type=_NatsContext)
    except FileNotFoundError:
        raise BadUsage(f"there is no nats context {name!r}: `nats context ls` lists them") from None
    except (OSError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise BadUsage(f"cannot read the nats context in {file}: {error}") from error
    creds = str(Path(found.creds).expanduser()) if found.creds else None
    return Context(nats_url=found.url, nats_creds=creds, hive=hive or os.environ.get("HIVEWIRE_HIVE") or "hive")
