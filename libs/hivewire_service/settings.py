"""The settings of a service: a flag goes before the environment, that before `hivewire.yaml`, that before the default."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, Field, IPvAnyNetwork, SecretStr, ValidationError
from pydantic_settings import BaseSettings, InitSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from hivewire.context import read_config
from hivewire.errors import BadUsage
from hivewire.limits import COMMANDS_PER_SECOND, READS_PER_SECOND, SESSIONS_CONCURRENT, SESSIONS_OPEN_MAX
from hivewire.subjects import hive_name
from hivewire.tls import Tls


def _hive_name(name: str) -> str:
    try:
        return hive_name(name)
    except BadUsage as error:
        raise ValueError(str(error)) from error


Port = Annotated[int, Field(ge=0, le=65_535)]


class Settings(BaseSettings):
    """What a service is told from outside. Environment variables are the fields' names in capitals after `HIVEWIRE_`;
    NATS' own are NATS_URL and NATS_CREDS."""

    model_config = SettingsConfigDict(
        env_prefix="HIVEWIRE_", populate_by_name=True, extra="forbid", frozen=True, env_ignore_empty=True
    )

    hive: Annotated[str, AfterValidator(_hive_name)] = "hive"
    nats_url: str = Field("nats://127.0.0.1:4222", validation_alias=AliasChoices("nats_url", "NATS_URL"))
    """One or more servers, separated by commas."""
    nats_creds: Path | None = Field(None, validation_alias=AliasChoices("nats_creds", "NATS_CREDS"))
    """A credentials file of role `service`."""
    nats_ca: Path | None = Field(None, validation_alias=AliasChoices("nats_ca", "NATS_CA"))
    """The CA of NATS' certificates, as PEM. Else the system's CAs are trusted."""
    nats_cert: Path | None = Field(None, validation_alias=AliasChoices("nats_cert", "NATS_CERT"))
    """A certificate to show to NATS, where it wants one."""
    nats_key: Path | None = Field(None, validation_alias=AliasChoices("nats_key", "NATS_KEY"))
    """The key of that certificate."""
    postgres_dsn: SecretStr = SecretStr("postgresql://127.0.0.1:5432/hivewire")
    keys_file: Path | None = None
    """The signing keys of the hive's roles, for the service that issues credentials."""
    authority_file: Path | None = None
    """The keys of nats-server's operator, for the service that revokes credentials."""
    data: Path | None = None
    """The data directory of `up`."""
    http_host: str = "127.0.0.1"
    http_port: Port = 8600
    http_cert: Path | None = None
    """The door's certificate, with those between it and its CA, as PEM: the door then speaks HTTPS and WSS alone."""
    http_key: Path | None = None
    """The key of that certificate."""
    part: Literal["all", "core", "door"] = "all"
    """Of the agent gateway: the core with its sessions, a door for HTTP and WebSockets, or both."""
    open: bool = False
    """The door takes X-Agent-ID for proof, on loopback only; what operators alone may do still needs a token."""
    public_url: str | None = None
    """Where others reach the door, for callback URLs. Else its host and port."""
    requests_per_minute: Annotated[int, Field(ge=1)] = 120
    """Requests of one id at one door."""
    sessions_max: Annotated[int, Field(ge=1, le=SESSIONS_OPEN_MAX)] = SESSIONS_CONCURRENT
    """Direct sessions open at a time."""
    sessions_per_agent_max: Annotated[int, Field(ge=1, le=SESSIONS_OPEN_MAX)] = SESSIONS_CONCURRENT
    heartbeat_seconds: Annotated[float, Field(ge=0.1, le=3600.0)] = 15.0
    """Between the heartbeats of WebSocket bridges; three in silence, and a bridge is closed."""
    outbound_networks: list[IPvAnyNetwork] = []
    """Addresses that are not public and that HTTP agents and webhooks may have nevertheless."""
    outbound_hosts: list[str] = []
    """If any, the only hosts of HTTP agents and webhooks."""
    outbound_ca: Path | None = None
    """CAs of one's own, as PEM, that HTTP agents, webhooks and GitHub may have their certificates of; beside the public."""
    github_url: str = "https://api.github.com"
    github_token: SecretStr | None = None
    metrics_host: str = "127.0.0.1"
    metrics_port: Port = 0
    """Port of /health, /ready and /metrics; 0 is any free one."""
    weights: Path | None = None
    """A JSON file with the weights of the factors by which the broker chooses agents."""
    owner_rate: Annotated[float, Field(gt=0.0)] | None = None
    """How many tasks a second each owner may be given; none: any number."""
    commands_per_second: Annotated[float, Field(gt=0.0)] = COMMANDS_PER_SECOND
    """Commands of one sender to a service, with three times as many at once; each 16 KiB of a message count as one more. What
    goes beyond is refused until later, and the SDK waits so long."""
    reads_per_second: Annotated[float, Field(gt=0.0)] = READS_PER_SECOND
    """Reads of one sender at an instance of a service, in the same way."""
    lease_seconds: Annotated[float, Field(ge=0.5, le=60.0)] = 2.0
    """How long an owner that stopped renewing keeps its lease: a standby takes over after it."""
    stream_replicas: Annotated[int, Field(ge=1, le=5)] = 1
    """Copies of each stream in a NATS cluster."""
    history_days: Annotated[float, Field(ge=1.0)] = 30.0
    """How long events are kept. What is asked about a time before it is refused."""
    ended_days: Annotated[float, Field(ge=1.0)] = 90.0
    """How long tasks, sessions, questions and messages are kept after their end, and messages that were rejected. No
    shorter than the history."""
    callables: dict[str, str] = {}
    """Behaviours of simulated agents that are Python callables: name -> `module:function`."""
    wake_commands: dict[str, list[str]] = {}
    """Commands under `hivewire up` that start agents which are away: name on the agent's card -> program and arguments."""
    wake_timeout_seconds: Annotated[float, Field(gt=0.0)] = 60.0
    """How long a task waits for an agent that was woken for it to register, before another is sought."""
    log_format: Literal["auto", "pretty", "json"] = "auto"
    """`auto` is pretty on a terminal and JSON otherwise."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def nats_tls(self) -> Tls:
        """Whom to trust at NATS, and what to show there."""
        return Tls.of(self.nats_ca, self.nats_cert, self.nats_key)

    @property
    def http_tls(self) -> Tls | None:
        """What the door shows; None: it speaks HTTP."""
        tls = Tls.of(None, self.http_cert, self.http_key)
        return tls if tls.is_wanted else None

    @classmethod
    def load(cls, config: Path | None = None, **flags: Any) -> "Settings":
        """The settings in force.

        Args:
            config: a configuration file; without it `hivewire.yaml` is read, if present.
            flags: what the command line says; None is not said.

        Raises:
            BadUsage: a setting is unknown or has no valid value; the text names all of them.
        """
        given = {name: value for name, value in flags.items() if value is not None}

        class Loaded(cls):  # type: ignore[misc,valid-type]
            @classmethod
            def settings_customise_sources(
                cls,
                settings_cls: type[BaseSettings],
                init_settings: PydanticBaseSettingsSource,
                env_settings: PydanticBaseSettingsSource,
                dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
                file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
            ) -> tuple[PydanticBaseSettingsSource, ...]:
                return init_settings, env_settings, InitSettingsSource(settings_cls, read_config(config))

        try:
            settings: Settings = Loaded(**given)
        except ValidationError as error:
            problems = (f"{'.'.join(map(str, part['loc']))}: {part['msg']}" for part in error.errors())
            raise BadUsage("wrong settings: " + "; ".join(problems)) from None
        return settings
