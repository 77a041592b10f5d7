"""What is asked, and how wrk asks it."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.bench.processes import Server

_SCRIPT = Path(__file__).with_name("post.lua")


@dataclass(frozen=True)
class Load:
    """POST requests to one address, their bodies one a line in a file; enough of them that no answer can be kept."""

    url: str
    headers: dict[str, str]
    bodies: Path
    login: bool = False  # each line is asked about twice, and lacks its end, the nonce


@dataclass(frozen=True)
class Variant:
    """One row of a table: who is asked, and what."""

    name: str  # as in bench.json
    what: str  # as in the table
    server: Server
    load: Load


@dataclass(frozen=True)
class Measured:
    """One round."""

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float  # processor time of the server for each request
    refused: str = ""  # how many of how many answers were no success; they do not count as done


def wrk_command(load: Load, *, connections: int, seconds: int, cpu: str | None) -> list[str]:
    """Return the command that runs wrk with one thread, on the cores that `cpu` names, if any."""
    pinned = [] if cpu is None else ["taskset", "-c", cpu]
    headers = [part for name, value in load.headers.items() for part in ("-H", f"{name}: {value}")]
    wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(_SCRIPT), *headers]
    return [*pinned, *wrk, load.url, "--", str(load.bodies), str(connections), "login" if load.login else "plain"]


def read(output: str) -> dict[str, float]:
    """Return what post.lua reports at the end of wrk's output.

    Raises:
        RuntimeError: a request had no answer, or half of the answers are no success: such a round measures nothing

    """
    found = [line for line in output.splitlines() if line.startswith("RESULT ")]
    if not found:
        raise RuntimeError(f"wrk reported nothing: {output[-500:]}")
    result: dict[str, float] = json.loads(found[-1].removeprefix("RESULT "))
    if result["failed"] or 2 * result["refused"] >= result["requests"]:
        raise RuntimeError(
            f"of {result['requests']:.0f} answers {result['refused']:.0f} were no success, and {result['failed']:.0f}"
            " requests had none; expected less than half, and 0"
        )
    return result


def measure(variant: Variant, *, connections: int, seconds: int, cpu: str | None) -> Measured:
    """Let wrk ask for so many seconds.

    Raises:
        RuntimeError: as read()

    """
    command = wrk_command(variant.load, connections=connections, seconds=seconds, cpu=cpu)
    before = variant.server.cpu_seconds()
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    used = variant.server.cpu_seconds() - before
    try:
        result = read(ended.stdout + ended.stderr)
    except RuntimeError as error:
        raise RuntimeError(f"{variant.what} at {connections} connections: {error}") from error
    requests, refused = result["requests"], result["refused"]
    return Measured(
        (requests - refused) / result["seconds"],
        result["p50_ms"],
        result["p99_ms"],
        used / requests * 1e6,
        f"{refused:.0f} of {requests:.0f}" if refused else "",
    )
