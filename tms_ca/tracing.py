"""Traces for OpenTelemetry, where an endpoint is configured; nothing is imported or wrapped without one.

Finished spans wait in a bounded queue for a thread that sends them. Where the receiver is slow or gone they are
dropped, and no request waits. A span names an endpoint, a status and a request id: no credential, no key, no person.
"""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import tms_ca

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

BASE_VARIABLE = "OTEL_EXPORTER_OTLP_ENDPOINT"
WHOLE_VARIABLE = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
MOST_WAITING = 4096  # spans; some six for a certificate
SEND_EVERY_MILLISECONDS = 1000
SEND_SECONDS = 2.0  # an attempt may take this long; the last one, at the end of the service, too


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
        # In a thread that nothing waits for at the end of the process: the provider alone would try for minutes.
        loop, sent = asyncio.get_running_loop(), asyncio.Event()

        def send() -> None:
            self._provider.shutdown()
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody has waited
                loop.call_soon_threadsafe(sent.set)

        threading.Thread(target=send, name="last traces", daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(sent.wait(), SEND_SECONDS)


@asynccontextmanager
async def open_tracing(setting: str) -> AsyncIterator[Tracing | None]:
    """Yield the way out for spans, None where no endpoint is configured; then send what is left.

    Raises:
        TracingError: the libraries are not there

    """
    endpoint = endpoint_of(setting)
    if not endpoint or os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        yield None
        return
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
    tracing = Tracing(provider)
    try:
        yield tracing
    finally:
        await tracing.close()
