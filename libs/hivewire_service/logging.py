"""Logs: pretty on a terminal, one JSON object a line otherwise, and no secret in either."""

import logging
import re
import sys
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

_HIDDEN = "***"
_SECRET_NAME = re.compile(r"(password|passwd|secret|seed|token|authorization|credentials|api_?key)$", re.IGNORECASE)
_SECRET_TEXT = (
    (re.compile(r"(\w://[^\s:/@]*):[^\s/@]+@"), rf"\1:{_HIDDEN}@"),  # a password in a URL
    (re.compile(r"\bS[UAONC][A-Z2-7]{56}\b"), _HIDDEN),  # the private half of a NATS key
    (re.compile(r"\beyJ[\w-]+\.[\w-]+\.[\w-]+"), _HIDDEN),  # a JWT
    (re.compile(r"(?i)\b(bearer)\s+\S+"), rf"\1 {_HIDDEN}"),
    (re.compile(r"(?i)\b(password)=[^\s&]+"), rf"\1={_HIDDEN}"),
)


def hide_secrets(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """A structlog processor that masks passwords, tokens and keys, wherever in the event they stand."""
    masked: EventDict = _masked(event)
    return masked


def _masked(value: Any) -> Any:
    match value:
        case str():
            for pattern, replacement in _SECRET_TEXT:
                value = pattern.sub(replacement, value)
            return value
        case dict():
            return {
                name: _HIDDEN if item and _SECRET_NAME.search(str(name)) else _masked(item)
                for name, item in value.items()
            }
        case list() | tuple():
            return [_masked(item) for item in value]
        case int() | float() | None:
            return value
        case _:
            return _masked(str(value))


def configure(*, level: str = "info", style: Literal["auto", "pretty", "json"] = "auto", **context: str) -> None:
    """Send all logs of this process to standard error, in one form; those of libraries too.

    Args:
        level: the least severe level that is shown.
        style: `auto` is pretty on a terminal and JSON otherwise.
        context: fields of every line, such as the service's name.
    """
    pretty = style == "pretty" or (style == "auto" and sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if pretty else "iso", utc=not pretty),
        structlog.processors.format_exc_info,
        hide_secrets,
    ]
    renderer: Processor = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty()) if pretty else structlog.processors.JSONRenderer()
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # nats-py reports every failed attempt to reconnect with a traceback; the bus says it in a line.
    logging.getLogger("nats").setLevel(logging.CRITICAL)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(**context)
