"""Logs and metrics: one JSON line per request, numbers for Prometheus."""

import asyncio
import logging
import sys
import traceback
from typing import Any, TextIO

import orjson
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

FLUSH_SECONDS = 0.05  # lines gather this long: a write for each would cost a tenth of the throughput
MOST_FIELD_CHARACTERS = 1024


class Metrics:
    """What /metrics shows; docs/operations.md explains each."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.media_type = CONTENT_TYPE_LATEST
        self.issued = Counter("tms_certificates_issued", "User certificates issued", registry=self.registry)
        self.logins = Counter("tms_logins_allowed", "Login checks answered yes", registry=self.registry)
        self.denied = Counter("tms_denied", "Refusals by rule", ["action", "code"], registry=self.registry)
        self.revoked = Counter("tms_revocations", "Revocations by selector", ["selector"], registry=self.registry)
        self.requests = Counter(
            "tms_http_requests", "Requests by endpoint and status", ["endpoint", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "tms_http_request_seconds",
            "Seconds from the request's head to its answer",
            ["endpoint"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
            registry=self.registry,
        )
        self.in_flight = Gauge("tms_http_in_flight", "Requests being answered", registry=self.registry)

        self._children: dict[tuple[str, int], tuple[Counter, Histogram]] = {}

    def answered(self, endpoint: str, status: int, seconds: float) -> None:
        """Count one answer; looking children up by their labels each time would cost as much as a decision."""
        children = self._children.get((endpoint, status))
        if children is None:
            children = self.requests.labels(endpoint, status), self.seconds.labels(endpoint)
            self._children[endpoint, status] = children
        children[0].inc()
        children[1].observe(seconds)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self.registry)


def _clean(value: object) -> object:
    if isinstance(value, str) and len(value) > MOST_FIELD_CHARACTERS:
        return value[:MOST_FIELD_CHARACTERS]
    return value


def json_line(fields: dict[str, object]) -> bytes:
    """Return one line of JSON; whatever came in, no control byte leaves."""
    try:
        return orjson.dumps({name: _clean(value) for name, value in fields.items()}, default=repr) + b"\n"
    except TypeError:  # a lone surrogate
        return orjson.dumps({name: ascii(value) for name, value in fields.items()}) + b"\n"


class Log:
    """Lines to stderr, gathered for a moment so that a busy service writes seldom."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lines: list[bytes] = []

    def write(self, **fields: object) -> None:
        """Add a line."""
        if not self._lines:
            try:
                asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
            except RuntimeError:
                self._lines.append(json_line(fields))
                self.flush()
                return
        self._lines.append(json_line(fields))

    def flush(self) -> None:
        """Write what has gathered."""
        lines, self._lines = b"".join(self._lines), []
        if not lines:
            return
        try:
            self._stream.buffer.write(lines)
            self._stream.buffer.flush()
        except (OSError, ValueError):
            pass  # a full disk under the log must not stop logins from being answered


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            fields["error"] = "".join(traceback.format_exception(record.exc_info[1]))[-8000:]
        return json_line(fields).decode().rstrip("\n")


def log_libraries_as_json() -> None:
    """Send what libraries log to stderr as JSON lines too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
