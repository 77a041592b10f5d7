"""Requests at a constant rate, whatever the answers do: latencies that leave no slow moment out.

A program that waits for an answer before it asks again asks less while the server stands still, and so leaves out the
very requests that would have waited. Here each request has its moment beforehand, and its latency counts from that
moment, also if it has to wait for a free connection.
"""

import asyncio
import gc
import json
import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

from tests.bench.client import Connection, head, request
from tests.bench.load import Load

CONNECTIONS = 64
_BLOCK = 16  # logins that come at the same time: the second question about each follows so many requests later
_SECONDS_TO_END = 30


@dataclass(frozen=True)
class Latencies:
    """What came out, in milliseconds."""

    requests: int
    p50_ms: float
    p99_ms: float
    p999_ms: float
    max_ms: float
    late_p99_ms: float  # how late this program itself was; if it is not far below the rest, that is worth nothing
    refused: int  # answers that were no success; their latencies are among the others


def requests(load: Load) -> Iterator[bytes]:
    """Yield the whole requests of `load` for ever."""
    beginning = head(load.url, load.headers)
    lines = load.bodies.read_bytes().splitlines()
    for n in count():
        if load.login:
            body = (
                lines[(n // (2 * _BLOCK) * _BLOCK + n % _BLOCK) % len(lines)] + b'%s"}' % os.urandom(16).hex().encode()
            )
        else:
            body = lines[n % len(lines)]
        yield request(beginning, body)


async def drive(load: Load, *, rate: float, seconds: float, connections: int = CONNECTIONS) -> Latencies:
    """Ask `rate` times a second.

    Raises:
        RuntimeError: an answer did not come, or half of them were no success

    """
    idle = [await Connection.open(load.url) for _ in range(connections)]
    every, source = list(idle), requests(load)
    waiting: deque[tuple[float, bytes]] = deque()
    took: list[float] = []
    late: list[float] = []
    refused = lost = 0
    clock = time.perf_counter

    def send(due: float, whole: bytes) -> None:
        connection = idle.pop()

        def done(status: int, _: bytes) -> None:
            nonlocal refused, lost
            took.append(clock() - due)
            if not status:
                lost += 1
                return
            refused += not 200 <= status < 300
            idle.append(connection)
            if waiting:
                send(*waiting.popleft())

        connection.send(whole, done)

    total, start = round(rate * seconds), clock() + 0.05
    gc.disable()
    for number in range(total):
        due, whole = start + number / rate, next(source)
        while (now := clock()) < due:
            await asyncio.sleep(0)  # not a timer: an event loop's are only as fine as a millisecond
        late.append(now - due)
        if idle:
            send(due, whole)
        else:
            waiting.append((due, whole))
    until = clock() + _SECONDS_TO_END
    while len(took) < total and clock() < until:
        await asyncio.sleep(0)
    gc.enable()
    for connection in every:
        connection.close()
    if lost or len(took) < total or 2 * refused >= total:
        raise RuntimeError(
            f"of {total} requests {refused} were refused, {lost} lost with their connection and {total - len(took)} not"
            " answered; expected less than half, 0 and 0"
        )
    took.sort()
    late.sort()

    def part(values: list[float], of_all: float) -> float:
        return values[min(len(values) - 1, int(len(values) * of_all))] * 1000

    return Latencies(
        total, part(took, 0.5), part(took, 0.99), part(took, 0.999), took[-1] * 1000, part(late, 0.99), refused
    )


def measure(load: Load, *, rate: float, seconds: float, cpu: str) -> Latencies:
    """Drive from a process of its own on one core, which it keeps busy to be on time.

    Raises:
        RuntimeError: as drive()

    """
    wish = {**asdict(load), "bodies": str(load.bodies), "rate": rate, "seconds": seconds}
    command = ["taskset", "-c", cpu, sys.executable, "-m", "tests.bench.steady"]
    ended = subprocess.run(command, input=json.dumps(wish), check=False, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{load.url} at {rate:g} a second: {ended.stderr.strip().splitlines()[-1:]}")
    return Latencies(**json.loads(ended.stdout))


def main() -> None:
    import uvloop

    wish = json.load(sys.stdin)
    load = Load(wish["url"], wish["headers"], Path(wish["bodies"]), wish["login"])
    found = uvloop.run(drive(load, rate=wish["rate"], seconds=wish["seconds"]))
    print(json.dumps(asdict(found)))


if __name__ == "__main__":
    main()
