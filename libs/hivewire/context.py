"""Where the hive is: how every command and client finds it without being told.

A running `hivewire up` writes a context into its data directory, and a copy where the same user's commands look for
it. A flag goes before the environment, the environment before the file `hivewire.yaml`, that before the copy.
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import platformdirs
import yaml

from hivewire.errors import BadUsage, NotReachable
from hivewire.private_file import write_private
from hivewire.tls import Tls

CONTEXT_FILE = "context.json"
CONFIG_FILE = "hivewire.yaml"
VARIABLES = {
    "nats_url": "NATS_URL",
    "nats_creds": "NATS_CREDS",
    "nats_ca": "NATS_CA",
    "nats_cert": "NATS_CERT",
    "nats_key": "NATS_KEY",
    "data": "HIVEWIRE_DATA",
    "hive": "HIVEWIRE_HIVE",
}
"""The environment's name of each setting by which a hive is found."""
OVERRIDING = ("nats_creds", "nats_ca", "nats_cert", "nats_key", "hive")
"""What can be said of a hive that was found by other means."""


class Context(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How to reach a hive. What only a local `up` knows is empty for a hive that was named by its URL."""

    nats_url: str
    hive: str = "hive"
    nats_creds: str | None = None
    """Path of the credentials to connect with."""
    nats_ca: str | None = None
    """Path of the CA that signed the servers' certificates; without it the system's are trusted."""
    nats_cert: str | None = None
    nats_key: str | None = None
    """Paths of a client's certificate and its key, for servers that want one."""
    postgres_dsn: str | None = None
    http_url: str | None = None
    data_dir: str | None = None
    pid: int | None = None
    """Process of the `up` that wrote this."""
    metrics: dict[str, str] = {}
    """URL of each service's metrics, by the service's name."""

    def write(self, file: Path) -> None:
        """Write the context to `file`, for its owner alone.

        Raises:
            OSError: the file cannot be written.
        """
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_private(file, msgspec.json.encode(self).decode())

    @classmethod
    def read(cls, file: Path) -> "Context | None":
        """The context in `file`, or None if there is none.

        Raises:
            BadUsage: the file is no context, or cannot be read.
        """
        try:
            return msgspec.json.decode(file.read_bytes(), type=cls)
        except FileNotFoundError:
            return None
        except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadUsage(f"cannot read {file}: {error}; start `hivewire up` again") from error

    @property
    def tls(self) -> Tls:
        """Whom to trust at NATS, and what to show there."""
        return Tls.of(self.nats_ca, self.nats_cert, self.nats_key)

    @property
    def is_alive(self) -> bool:
        """Whether the `up` that wrote this still runs; a context of another origin counts as alive."""
        if self.pid is None:
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True


def user_context_file() -> Path:
    """Where a user's `up` leaves its context for that user's commands."""
    return platformdirs.user_state_path("hivewire") / CONTEXT_FILE


def find_context(
    *,
    nats_url: str | None = None,
    nats_creds: str | None = None,
    nats_ca: str | Path | None = None,
    nats_cert: str | Path | None = None,
    nats_key: str | Path | None = None,
    data: str | Path | None = None,
    hive: str | None = None,
    config: str | Path | None = None,
) -> Context:
    """The context of the hive that is meant.

    At each level a NATS URL is taken before a data directory. Credentials and files of TLS that are named override those
    that come with a context, so an agent uses its own with the local hive's address.

    Args:
        nats_url: flag for the server's URL.
        nats_creds: flag for the path of a credentials file.
        nats_ca: flag for the path of the CA of NATS' certificates.
        nats_cert: flag for the path of a client's certificate.
        nats_key: flag for the path of its key.
        data: flag for the data directory of an `up` on this machine.
        hive: flag for the hive's name.
        config: path of a configuration file; without it `hivewire.yaml` is read, if present.

    Raises:
        BadUsage: a named file is missing or malformed.
        NotReachable: no hive is named and none runs here.
    """
    env = os.environ
    levels: list[dict[str, Any]] = [
        {
            "nats_url": nats_url,
            "nats_creds": nats_creds,
            "nats_ca": nats_ca,
            "nats_cert": nats_cert,
            "nats_key": nats_key,
            "data": data,
            "hive": hive,
        },
        {key: env.get(variable) for key, variable in VARIABLES.items()},
        read_config(config),
    ]
    named = {key: next((level[key] for level in levels if level.get(key)), None) for key in OVERRIDING}
    changes = {key: str(value) for key, value in named.items() if value}
    return msgspec.structs.replace(_base(levels), **changes)


def _base(levels: list[dict[str, Any]]) -> Context:
    for level in levels:
        if level.get("nats_url"):
            return Context(nats_url=str(level["nats_url"]))
        if level.get("data"):
            return _of_data_dir(Path(level["data"]))
    found = Context.read(user_context_file())
    if found is None or not found.is_alive:
        raise NotReachable("no hive runs here: start one with `hivewire up`, or set NATS_URL and NATS_CREDS")
    return found


def _of_data_dir(data: Path) -> Context:
    found = Context.read(data / CONTEXT_FILE)
    if found is None or not found.is_alive:
        raise NotReachable(f"no hive runs on {data}: start it with `hivewire up --data {data}`")
    return found


def read_config(config: str | Path | None) -> dict[str, Any]:
    """The settings in a configuration file: `config`, else HIVEWIRE_CONFIG, else `hivewire.yaml` if there is one.

    Raises:
        BadUsage: the file was named and is missing, or it is malformed.
    """
    named = config or os.environ.get("HIVEWIRE_CONFIG")
    file = Path(named or CONFIG_FILE)
    try:
        settings = yaml.safe_load(file.read_text())
    except FileNotFoundError:
        if named is None:
            return {}
        raise BadUsage(f"there is no configuration file {file}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadUsage(f"cannot read {file}: {' '.join(str(error).split())}") from error
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise BadUsage(f"{file} must be a mapping of settings, such as `nats_url: nats://127.0.0.1:4222`")
    return settings
