"""Run the benchmark: `make bench`, or `make bench QUICK=1` for a first look."""

import argparse
import json
import os
import platform
import statistics
import sys
from datetime import UTC, datetime
from pathlib import Path

from tests.bench.load import Measured, wrk
from tests.bench.service import furnish, public_keys, service, started

SERVER_CPU, LOAD_CPU = 0, 1
CONNECTIONS = (1, 32, 100)
ROOT = Path(__file__).parents[2]
DOC = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def issue_bodies(count: int) -> list[str]:
    return [
        json.dumps({"user": "alice", "host": "h1", "account": "alice", "public_key": key}) for key in public_keys(count)
    ]


def measure(seconds: int, rounds: int) -> dict[str, dict[int, list[Measured]]]:
    """Measure echo, certificates and login checks in turn, so that a drift of the machine meets all three."""
    found: dict[str, dict[int, list[Measured]]] = {"echo": {}, "certificates": {}, "login checks": {}}
    echo_command = [sys.executable, "-m", "tests.bench.echo"]
    with started(echo_command, SERVER_CPU) as (echo, _), service(SERVER_CPU) as (base, operator):
        api, client, host = furnish(base, operator)
        bodies = issue_bodies(500)
        certificates = [api.call("POST", "certificates", client, json.loads(body))["certificate"] for body in bodies]
        checks = [json.dumps({"account": "alice", "certificate": text, "nonce": "0" * 32}) for text in certificates]
        kind = {"Content-Type": "application/json"}
        root = f"{base}/api/v1/tenants/default"
        targets = {
            "echo": (echo + "/", kind, bodies),
            "certificates": (f"{root}/certificates", {**kind, "Authorization": client}, bodies),
            "login checks": (f"{root}/hosts/h1/principals", {**kind, "Authorization": host, "Accept": "text/plain"}, checks),
        }  # fmt: skip
        for connections in CONNECTIONS:
            for number in range(rounds + 1):
                for name, (url, headers, texts) in targets.items():
                    one = wrk(
                        url, headers, texts, connections=connections, seconds=seconds if number else 1, cpu=LOAD_CPU
                    )
                    if one.errors:
                        raise RuntimeError(f"{name} at {connections} connections: {one.errors} errors")
                    if number:  # the first, short one warms up
                        found[name].setdefault(connections, []).append(one)
                        print(
                            f"{name:13} {connections:4} connections: {one.per_second:8.0f}/s  p99 {one.p99_ms:.1f} ms"
                        )
    return found


def table(found: dict[str, dict[int, list[Measured]]]) -> list[str]:
    """Return the rows of docs/performance.md."""
    rows = [
        "| what | connections | a second, median (min-max) | p50 ms | p99 ms | ratio to echo |",
        "|---|---|---|---|---|---|",
    ]
    for name, by_connections in found.items():
        for connections, all_of in by_connections.items():
            rate = statistics.median(one.per_second for one in all_of)
            probe = statistics.median(one.per_second for one in found["echo"][connections])
            low, high = min(one.per_second for one in all_of), max(one.per_second for one in all_of)
            p50 = statistics.median(one.p50_ms for one in all_of)
            p99 = statistics.median(one.p99_ms for one in all_of)
            spread = f"{rate:,.0f} ({low:,.0f}-{high:,.0f})"
            rows.append(f"| {name} | {connections} | {spread} | {p50:.1f} | {p99:.1f} | {rate / probe:.2f} |")
    return rows


def as_json(found: dict[str, dict[int, list[Measured]]]) -> list[dict[str, object]]:
    """Return what bench.json holds."""
    entries: list[dict[str, object]] = []
    for name, by_connections in found.items():
        for connections, all_of in by_connections.items():
            label = f"{name.replace(' ', '_')}_{connections}"
            rate = statistics.median(one.per_second for one in all_of)
            entries.append({"name": label, "value": round(rate, 1), "unit": "1/s", "ratio_to": None})
            p99 = statistics.median(one.p99_ms for one in all_of)
            entries.append({"name": f"{label}_p99", "value": round(p99, 2), "unit": "ms", "ratio_to": None})
            if name != "echo":
                probe = statistics.median(one.per_second for one in found["echo"][connections])
                entries.append(
                    {"name": f"{label}_vs_echo", "value": round(rate / probe, 3), "unit": "ratio", "ratio_to": "echo"}
                )
    return entries


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="one short round, nothing written to the docs")
    quick = parser.parse_args().quick
    if (os.cpu_count() or 1) < 2:
        print("the benchmark needs two cores: one for the service, one for the load", file=sys.stderr)
        return 1
    found = measure(3 if quick else 8, 1 if quick else 3)
    rows = table(found)
    print("\n".join(rows))
    (ROOT / "bench.json").write_text(json.dumps(as_json(found), indent=1) + "\n")
    if not quick:
        text = DOC.read_text()
        head, _, rest = text.partition(BEGIN)
        _, _, tail = rest.partition(END)
        stamp = (
            f"Measured {datetime.now(UTC):%Y-%m-%d} with Python {platform.python_version()} on {os.cpu_count()} cores."
        )
        DOC.write_text("\n".join([head + BEGIN, stamp, "", *rows, END]) + tail)
        print(f"wrote {DOC.relative_to(ROOT)} and bench.json")
    return 0


if __name__ == "__main__":
    sys.exit(main())
