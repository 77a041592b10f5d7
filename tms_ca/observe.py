"""The log: JSON lines on standard error, one for each request."""

import asyncio
import json
import logging
import sys
import traceback
from typing import Any, TextIO

import orjson

FLUSH_SECONDS = 0.05  # lines gather this long: a write for each would cost a tenth of the throughput
MOST_FIELD_CHARACTERS = 1024


def _cut(value: object) -> object:
    if isinstance(value, str) and len(value) > MOST_FIELD_CHARACTERS:
        return value[:MOST_FIELD_CHARACTERS]
    return value


def _other(value: object) -> str:
    return repr(value)[:MOST_FIELD_CHARACTERS]


def json_line(fields: dict[str, object]) -> bytes:
    """Return one line of printable ASCII; whatever came in, it is JSON and ends no line but its own."""
    try:
        line = orjson.dumps(fields, default=_other)
        if len(line) > MOST_FIELD_CHARACTERS:  # a shorter line has no field that is longer
            line = orjson.dumps({name: _cut(value) for name, value in fields.items()}, default=_other)
    except TypeError:  # a lone surrogate
        line = _escaped(fields)
    if not line.isascii() or b"\x7f" in line:  # a terminal and other readers find ends of lines and commands in these
        line = _escaped(fields)
    return line + b"\n"


def _escaped(fields: dict[str, object]) -> bytes:
    text = json.dumps({name: _cut(value) for name, value in fields.items()}, default=_other, separators=(",", ":"))
    return text.replace("\x7f", "\\u007f").encode()


class Log:
    """Lines to stderr, gathered for a moment so that a busy service writes seldom."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._lines: list[bytes] = []

    def write(self, **fields: object) -> None:
        """Add a line."""
        self.add(json_line(fields))

    def add(self, line: bytes) -> None:
        """Add a line that is JSON in printable ASCII, with its end."""
        if not self._lines:
            try:
                asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)
            except RuntimeError:
                self._lines.append(line)
                self.flush()
                return
        self._lines.append(line)

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
            fields["error"] = "".join(traceback.format_exception(record.exc_info[1]))[-MOST_FIELD_CHARACTERS:]
        return json_line(fields).decode().rstrip("\n")


def log_libraries_as_json() -> None:
    """Send what libraries log to stderr as JSON lines too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
