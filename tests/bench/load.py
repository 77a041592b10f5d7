"""Drive wrk and read what it measured."""

import json
import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

_UNITS = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60000.0}


@dataclass(frozen=True)
class Measured:
    per_second: float
    p50_ms: float
    p99_ms: float
    errors: int


def _ms(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(us|ms|s|m)", text)
    assert match, text
    return float(match[1]) * _UNITS[match[2]]


def wrk(url: str, headers: dict[str, str], bodies: list[str], *, connections: int, seconds: int, cpu: int) -> Measured:
    """POST `bodies` in turn for `seconds` from one thread on one core."""
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "post.lua"
        lines = ['wrk.method = "POST"']
        lines += [f"wrk.headers[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items()]
        lines += ["local bodies = {", *(f"  {json.dumps(body)}," for body in bodies), "}", "local n = 0"]
        lines += [
            "request = function()",
            "  n = n % #bodies + 1",
            "  return wrk.format(nil, nil, nil, bodies[n])",
            "end",
        ]
        script.write_text("\n".join(lines))
        command = ["taskset", "-c", str(cpu), "wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", "-s"]
        text = subprocess.run([*command, str(script), url], check=True, capture_output=True, text=True).stdout
    found = re.search(r"Requests/sec:\s+([\d.]+)", text)
    assert found, text
    errors = sum(int(n) for n in re.findall(r"Non-2xx or 3xx responses: (\d+)", text))
    errors += sum(int(n) for group in re.findall(r"Socket errors: (.*)", text) for n in re.findall(r"\d+", group))
    return Measured(
        float(found[1]),
        _ms(re.search(r"^\s+50%\s+(\S+)", text, re.MULTILINE)[1]),
        _ms(re.search(r"^\s+99%\s+(\S+)", text, re.MULTILINE)[1]),
        errors,
    )
