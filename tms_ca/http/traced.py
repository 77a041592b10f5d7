"""A span around each request, and its trace_id in each line of the log; app.py puts them in where traces are sent."""

from collections.abc import Awaitable, Callable

from aiohttp import web

from tms_ca.http.context import REQUEST_ID
from tms_ca.http.middleware import Serve
from tms_ca.observe import Log
from tms_ca.tracing import Tracing

_MOST_STATE_CHARACTERS = 512  # W3C Trace Context section 3.3.1.5


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
