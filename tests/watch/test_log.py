"""The log: a line is one JSON object whatever came in, and docs/monitoring.md knows each of its fields."""

import asyncio
import io
import json
import re
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from yarl import URL

from tms_ca.observe import MOST_FIELD_CHARACTERS, Log, json_line

PAGE = Path(__file__).parents[2] / "docs" / "monitoring.md"
HOSTILE = [
    "\r\n",
    "\x1b[2J",
    "\u2028",
    "\u2029",
    "\u202e",
    "\x00",
    "\x7f",
    "\ud800",
    '"}\n{"level":"forged"',
    "é" * 5,
    "\x85",
]


@pytest.fixture(autouse=True)
def stream(monkeypatch) -> io.BytesIO:
    """What stands in the place of standard error; before the service opens its log."""
    buffer = io.BytesIO()
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(buffer, write_through=True))
    return buffer


def documented() -> set[str]:
    section = PAGE.read_text().split("## Log")[1].split("## Alerts")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    words = section.split("Start and stop write")[1].split("Bodies")[0]
    return set(re.findall(r"`(\w+)`", " ".join(rows) + words))


async def until_written(stream, request_id: str) -> None:
    """Wait until the line of a request is there, and all before it: lines gather for a moment."""
    async with asyncio.timeout(60):
        while f'"{request_id}"'.encode() not in stream.getvalue():
            await asyncio.sleep(0.005)


async def lines_of(world, stream, work) -> list[dict]:
    """Return what the service logs while `work` goes on, each line read as JSON."""
    await until_written(stream, (await world.call("GET", "/healthz")).headers["X-Request-ID"])
    stream.truncate(0)
    stream.seek(0)
    await work()
    await until_written(stream, (await world.call("GET", "/healthz")).headers["X-Request-ID"])
    raw = stream.getvalue().decode()
    assert all(line.isprintable() for line in raw.splitlines())
    return [json.loads(line) for line in raw.splitlines()]


async def test_F_08_what_a_caller_sends_stays_inside_its_line(world, stream):
    async def work():
        for text in [*HOSTILE, "x" * 1300]:
            path = "/" + "".join(f"%{byte:02X}" for byte in text.encode(errors="surrogatepass"))
            async with world.http.get(URL(str(world.base).rstrip("/") + path, encoded=True)) as answer:
                assert answer.status in {400, 404}
            await world.issue(user=text if text.isprintable() else "x\n")

    lines = await lines_of(world, stream, work)
    assert len(lines) == 2 * (len(HOSTILE) + 1) + 1
    for line in lines:
        assert line["level"] in {"info", "error"}
        assert all(len(value) <= MOST_FIELD_CHARACTERS for value in line.values() if isinstance(value, str))
    assert any(len(line.get("path", "")) == MOST_FIELD_CHARACTERS for line in lines)


async def test_every_field_of_a_line_is_on_the_page(world, stream):
    async def work():
        await world.issue()
        await world.issue(user="nobody")
        world.context.issuance._verdicts = None  # a bug, as the log sees one
        assert (await world.issue()).status == 500

    lines = await lines_of(world, stream, work)
    fields = {name for line in lines for name in line}
    assert fields >= {
        "level",
        "at",
        "request_id",
        "method",
        "path",
        "endpoint",
        "status",
        "ms",
        "address",
        "code",
        "error",
    }
    assert fields <= documented()
    (bug,) = [line for line in lines if line.get("status") == 500]
    assert (bug["level"], bug["code"]) == ("error", "internal")
    assert "AttributeError" in bug["error"]


async def test_one_request_is_one_line_and_says_nothing_of_its_body_or_query(world, stream):
    async def work():
        await world.issue()
        await world.call("GET", "certificates?user=canary", auth=world.operator)

    lines = await lines_of(world, stream, work)
    assert [line["endpoint"] for line in lines] == ["issue_certificate", "list_certificates", "get_health"]
    assert len({line["request_id"] for line in lines}) == 3
    text = json.dumps(lines)
    for secret in ("canary", "ssh-ed25519", world.clients["portal"].split()[1], world.operator.split()[1]):
        assert secret not in text


@given(st.dictionaries(st.text(), st.one_of(st.text(), st.text(min_size=2000), st.binary(), st.integers(), st.none())))
@example({"of no kind of JSON's": bytes(2000)})
def test_F_08_any_value_is_one_line_of_json(fields):
    line = json_line(fields)
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in line[:-1])
    read = json.loads(line)
    assert all(len(value) <= MOST_FIELD_CHARACTERS for value in read.values() if isinstance(value, str))


@pytest.mark.parametrize("text", HOSTILE)
def test_F_08_no_control_no_separator_and_no_bidi_byte_leaves(text):
    line = json_line({"message": text, text: "x"}).decode()
    assert line[:-1].isprintable()
    assert line.isascii()
    assert json.loads(line) == {"message": text, text: "x"}


def test_a_full_disk_under_the_log_stops_nothing():
    class Full(io.StringIO):
        @property
        def buffer(self):
            raise OSError(28, "No space left on device")

    log = Log(Full())
    log.write(message="a")
    log.write(message="b")


def test_lines_gather_and_leave_in_order():
    class Stream:
        def __init__(self) -> None:
            self.buffer = io.BytesIO()

    stream = Stream()
    log = Log(stream)
    for number in range(3):
        log.write(number=number)
    assert [json.loads(line)["number"] for line in stream.buffer.getvalue().splitlines()] == [0, 1, 2]
