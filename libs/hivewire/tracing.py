"""Traces by OpenTelemetry: from submit to assignment, to the run until its end, and to what the agent asks and submits.

They need the extra `tracing` and an exporter: a program that uses the SDK sets up OpenTelemetry as it likes, the command
`hivewire` and the services do it when OTEL_EXPORTER_OTLP_ENDPOINT is set. Otherwise nothing is imported and nothing
recorded. What goes from process to process is W3C's `traceparent`, in the envelopes. Names and attributes are those of
OpenTelemetry's conventions for messaging.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

Operation = Literal["send", "process"]
ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
_FIELD = "traceparent"


def enabled() -> bool:
    """Whether somebody in this process has set up OpenTelemetry."""
    return "opentelemetry.sdk.trace" in sys.modules


def set_up(service: str) -> None:
    """Export this process' spans, where the environment says where to and the extra `tracing` is installed."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return
    try:
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ModuleNotFoundError:
        return
    name = os.environ.get("OTEL_SERVICE_NAME", f"hivewire-{service}")
    provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def current() -> str | None:
    """The `traceparent` of the span that is open in this flow of the program."""
    return _traceparent(None) if enabled() else None


@contextmanager
def span(operation: Operation, what: str, parent: str | None, **attributes: str | int) -> Iterator[str | None]:
    """A span as long as the context lasts; its value is its `traceparent`, or `parent` where nothing is traced.

    Args:
        operation: whether a message is sent, or one that came is dealt with.
        what: what the message asks for, such as `broker.submit`.
        parent: the `traceparent` of what caused it; None is the span that is open here, if any.
        attributes: more of it, with `_` for `.` in the names.
    """
    if not enabled():
        yield parent
        return
    from opentelemetry import trace

    kind = trace.SpanKind.CLIENT if operation == "send" else trace.SpanKind.CONSUMER
    with trace.get_tracer("hivewire").start_as_current_span(
        f"{operation} {what}", _context(parent), kind=kind, attributes=_attributes(operation, attributes)
    ):
        yield _traceparent(parent)


def record(what: str, parent: str | None, since_ns: int, **attributes: str | int) -> str | None:
    """A span of something that was dealt with since then, in nanoseconds since 1970; its `traceparent`."""
    from opentelemetry import trace

    recorded = trace.get_tracer("hivewire").start_span(
        f"process {what}",
        _context(parent),
        kind=trace.SpanKind.CONSUMER,
        attributes=_attributes("process", attributes),
        start_time=since_ns,
    )
    recorded.end(time.time_ns())
    return _traceparent(parent, trace.set_span_in_context(recorded))


def _attributes(operation: Operation, more: dict[str, str | int]) -> dict[str, str | int]:
    known = {"messaging.system": "nats", "messaging.operation.type": operation, "messaging.operation.name": operation}
    return known | {name.replace("_", "."): value for name, value in more.items()}


def _context(parent: str | None) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return None if parent is None else TraceContextTextMapPropagator().extract({_FIELD: parent})


def _traceparent(otherwise: str | None, context: Any = None) -> str | None:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier, context)
    return carrier.get(_FIELD, otherwise)
