"""Traces for OpenTelemetry, where an endpoint is configured; nothing is imported or wrapped without one.

Finished spans wait in a bounded queue for a thread that sends them. Where the receiver is slow or gone they are
dropped, and no request waits. A span names an endpoint, a status and a request id: no credential, no key, no person.
"""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from aiohttp import web

import tms_ca
from tms_ca.http.context import REQUEST_ID
from tms_ca.http.middleware import Serve
from tms_ca.observe import Log

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

BASE_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
WHOLE_VARIABLE = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
MOST_WAITING = 4096  # spans; some six for a certificate
SEND_EVERY_MILLISECONDS = 1000
SEND_SECONDS = 2.0  # an attempt may take this long; the last one, at the end of the service, too
_MOST_STATE_CHARACTERS = 512  # W3C Trace Context section 3.3.1.5


class TracingError(ValueError):
    """Tracing is configured and cannot be."""


def endpoint_of(setting: str) -> str:
    """Return the URL that traces are sent to; empty for none. The setting goes before the environment."""
    base = setting or os.environ.get(BASE_VARIABLE, "")
    if not setting and os.environ.get(WHOLE_VARIABLE):
        return os.environ[WHOLE_VARIABLE]
    if not base or base.endswith("/v1/traces"):
        return base
    return base.rstrip("/") + "/v1/traces"


class Tracing:
    """The way out for spans."""

    def __init__(self, provider: "TracerProvider") -> None:
        self._provider = provider
        self.tracer: Tracer = provider.get_tracer("tms_ca", tms_ca.__version__)

    async def close(self) -> None:
        """Send what waits, and give up where nobody takes it."""
        # The provider's own end would wait for the sending thread without a limit.
        sent = asyncio.get_running_loop().run_in_executor(None, self._provider.shutdown)
        await asyncio.wait([sent], timeout=2 * SEND_SECONDS)


def open_tracing(setting: str) -> Tracing | None:
    """Return the way out for spans, None where no endpoint is configured.

    Raises:
        TracingError: the libraries are not there

    """
    endpoint = endpoint_of(setting)
    if not endpoint or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise TracingError(
            f"traces are to be sent to {endpoint}, and {error.name} is not installed: pip install 'tms-ca[tracing]', "
            "or take tracing.endpoint out of the settings"
        ) from error
    attributes = {"service.version": tms_ca.__version__, "service.instance.id": f"{socket.gethostname()}:{os.getpid()}"}
    if "OTEL_SERVICE_NAME" not in os.environ:
        attributes["service.name"] = "tms-ca"
    provider = TracerProvider(resource=Resource.create(attributes), shutdown_on_exit=False)
    provider.add_span_processor(
        BatchSpanProcessor(
            OTLPSpanExporter(endpoint=endpoint, timeout=SEND_SECONDS),
            max_queue_size=MOST_WAITING,
            schedule_delay_millis=SEND_EVERY_MILLISECONDS,
        )
    )
    return Tracing(provider)


def traced_serve(serve: Serve, tracing: Tracing) -> Serve:
    """Return `serve` with a span around it, which continues the caller's trace (W3C traceparent)."""
    from opentelemetry.context import Context
    from opentelemetry.trace import SpanKind, StatusCode
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    propagator = TraceContextTextMapPropagator()
    tracer = tracing.tracer

    def parent(request: web.Request) -> Context:
        carrier = {"traceparent": request.headers.get("traceparent", "")}
        state = request.headers.get("tracestate", "")
        if state and len(state) <= _MOST_STATE_CHARACTERS:
            carrier["tracestate"] = state
        return propagator.extract(carrier, Context())

    async def run(
        request: web.Request, name: str, answer: Callable[[], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        with tracer.start_as_current_span(name, parent(request), SpanKind.SERVER) as span:
            response = await serve(request, name, answer)
            span.set_attribute("http.request.method", request.method)
            span.set_attribute("http.response.status_code", response.status)
            span.set_attribute("tms.request_id", request[REQUEST_ID])
            if response.status >= 500:
                span.set_status(StatusCode.ERROR)
            return response

    return run


class TracedLog(Log):
    """The log of a service that is traced: lines that are written inside a request carry its trace_id."""

    def __init__(self, log: Log) -> None:
        from opentelemetry.trace import get_current_span

        self._log = log
        self._current = get_current_span

    def write(self, **fields: object) -> None:
        """Add a line."""
        context = self._current().get_span_context()
        if context.is_valid:
            fields["trace_id"] = f"{context.trace_id:032x}"
        self._log.write(**fields)

    def flush(self) -> None:
        """Write what has gathered."""
        self._log.flush()
