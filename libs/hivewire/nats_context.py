"""Contexts of the `nats` command: a server's URL, credentials and files of TLS under a name."""

import os
from pathlib import Path

import msgspec

from hivewire.context import Context
from hivewire.errors import BadUsage


class _NatsContext(msgspec.Struct):
    url: str
    creds: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""


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
    return Context(
        nats_url=found.url,
        nats_creds=_path(found.creds),
        nats_ca=_path(found.ca),
        nats_cert=_path(found.cert),
        nats_key=_path(found.key),
        hive=hive or os.environ.get("HIVEWIRE_HIVE") or "hive",
    )


def _path(named: str) -> str | None:
    return str(Path(named).expanduser()) if named else None
