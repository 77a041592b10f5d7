"""What a login waits for on the host: tms-principals as a process, beside a bare Python and beside curl."""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.build_host import stage
from tests.bench.compare import Bench
from tests.bench.processes import Server, started
from tests.bench.report import Figure, Outcome, Target, figure, spread, table

PART = "helper"
PYTHON = "/usr/bin/python3"
RUNS_OF_A_ROUND = 40
TOKEN = "tms_h_0123456789abcdefghijklmnopqrstuvwxyzABCDEF0"
TARGETS = (
    Target("helper_socket_vs_python", "the helper through the daemon, over `python3 -I -S -E -c pass`", 1.5, 1.2, PART, lower_is_better=True),
    Target("helper_socket_vs_curl", "the helper through the daemon, over curl asking the same over HTTPS", 1.0, 0.8, PART, lower_is_better=True),
    Target("helper_https_vs_curl", "the helper without a daemon, over curl", 2.0, 1.5, PART, lower_is_better=True),
)  # fmt: skip
NAMES = {
    "python": "`python3 -I -S -E -c pass`",
    "socket": "tms-principals through the daemon",
    "https": "tms-principals without a daemon, over HTTPS",
    "curl": "curl, the same request over HTTPS",
}


@dataclass
class Timed:
    """Each round's medians of one command, in milliseconds."""

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command; return its processor time (user's and kernel's) and how long it took, in milliseconds.

    Raises:
        RuntimeError: it failed

    """
    begun = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=environment,
        cwd="/",
    )
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[:3]} ended with {process.returncode}")
    return (used.ru_utime + used.ru_stime) * 1000, seconds * 1000


def _make_pki(where: Path) -> None:
    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=where, check=True, capture_output=True)

    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    openssl("req", "-x509", *curve, "-days", "2", "-subj", "/CN=ca", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *curve, "-subj", "/CN=service", "-keyout", "service.key", "-out", "service.csr")
    (where / "ext").write_text("subjectAltName=IP:127.0.0.1\n")
    openssl("x509", "-req", "-in", "service.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2",
            "-extfile", "ext", "-out", "service.pem")  # fmt: skip


def _make_certificate(where: Path) -> tuple[str, str]:
    """Return type and base64 of a certificate like the service's."""
    for name in ("user_ca", "id"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", where / name], check=True)
    key_id = "t=default;c=portal;u=alice;r=0190f3a2-bc1d"
    subprocess.run(["ssh-keygen", "-q", "-s", where / "user_ca", "-I", key_id, "-n", "alice@h1", "-z", "7", "-V", "-1m:+8h",
                    where / "id.pub"], check=True)  # fmt: skip
    kind, blob = (where / "id-cert.pub").read_text().split()[:2]
    return kind, blob


def _configure(where: Path, name: str, url: str) -> Path:
    """Write a configuration whose daemon, if one runs, listens in a directory of its own."""
    run, token = where / name, where / "token"
    run.mkdir()
    token.touch(0o600)
    token.write_text(TOKEN)
    values = {"url": url, "tenant": "default", "host": "h1", "token_file": token, "ca_file": where / "ca.pem", "run_dir": run,
              "state_dir": where, "poll_seconds": 3600, "report_seconds": 3600}  # fmt: skip
    path = where / f"{name}.conf"
    path.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
    path.chmod(0o644)
    return path


@contextmanager
def _commands(where: Path) -> Iterator[tuple[dict[str, list[str]], Server]]:
    """Start the service and the daemon; yield the command lines to compare, and the daemon."""
    where.mkdir(parents=True)
    _make_pki(where)
    prefix = stage(Path("/"), str(where / "usr"))
    subprocess.run([PYTHON, "-I", "-m", "compileall", "-q", prefix / "lib/tms-host"], check=True)
    kind, blob = _make_certificate(where)
    body = where / "body"
    body.write_text(json.dumps({"account": "alice", "certificate": f"{kind} {blob}", "nonce": "0" * 32}))
    server = [sys.executable, "-m", "tests.bench.tls_service", str(where / "service.pem"), str(where / "service.key")]
    with started(server, cpu=None) as service:
        with_daemon, without = (_configure(where, name, service.address) for name in ("daemon", "none"))
        hostd = [PYTHON, "-ISE", str(prefix / "sbin/tms-hostd"), "--config", str(with_daemon)]
        listens = where / "daemon" / "ask.sock"
        with started(hostd, cpu=None, address=lambda _: str(listens) if listens.exists() else None) as daemon:
            helper = [PYTHON, "-ISE", str(prefix / "libexec/tms/tms-principals"), "--config"]
            url = f"{service.address}/api/v1/tenants/default/hosts/h1/principals"
            headers = [f"Authorization: Bearer {TOKEN}", "Accept: text/plain", "Content-Type: application/json"]
            curl = ["curl", "-sS", "--fail", "--cacert", str(where / "ca.pem"), "--data-binary", f"@{body}"]
            yield {
                "python": [PYTHON, "-I", "-S", "-E", "-c", "pass"],
                "socket": [*helper, str(with_daemon), "alice", kind, blob],
                "https": [*helper, str(without), "alice", kind, blob],
                "curl": [*curl, *(word for header in headers for word in ("-H", header)), url],
            }, daemon  # fmt: skip


def helper(bench: Bench) -> Outcome:
    """One helper process: through the daemon, without one, and what else a process costs."""
    outcome = Outcome(PART, "The helper's process on a host")
    environment = {"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"}
    found = {name: Timed() for name in NAMES}
    with _commands(bench.directory / PART) as (commands, daemon):
        for command in [*commands.values()] * 5:
            timed(command, environment)
        before, asked = daemon.cpu_seconds(), 0
        for _ in range(bench.plan.rounds):
            samples: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
            for _ in range(RUNS_OF_A_ROUND):
                for name, command in commands.items():
                    samples[name].append(timed(command, environment))
                asked += 1
            for name, pairs in samples.items():
                found[name].cpu.append(statistics.median(cpu for cpu, _ in pairs))
                found[name].wall.append(statistics.median(wall for _, wall in pairs))
            bench.say(
                "  " + "  ".join(f"{name} {one.cpu[-1]:.1f}/{one.wall[-1]:.1f} ms" for name, one in found.items())
            )
        daemon_ms = (daemon.cpu_seconds() - before) / asked * 1000
    outcome.figures = _figures(found, daemon_ms)
    outcome.lines = _lines(outcome.figures, bench.plan.rounds * RUNS_OF_A_ROUND)
    return outcome


def _figures(found: dict[str, Timed], daemon_ms: float) -> list[Figure]:
    figures = []
    for name, one in found.items():
        figures += [figure(f"helper_{name}_cpu_ms", one.cpu, "ms"), figure(f"helper_{name}_wall_ms", one.wall, "ms")]
    figures.append(figure("helper_daemon_cpu_ms", [daemon_ms], "ms"))
    for target in TARGETS:
        ours, theirs = target.name.removeprefix("helper_").split("_vs_")
        for suffix, kind in (("", "cpu"), ("_by_wall", "wall")):
            pairs = zip(getattr(found[ours], kind), getattr(found[theirs], kind), strict=True)
            ratios = [mine / other for mine, other in pairs]
            figures.append(figure(target.name + suffix, ratios, "ratio", ratio_to=f"helper_{theirs}_{kind}_ms"))
    return figures


def _lines(figures: list[Figure], runs: int) -> list[str]:
    by_name = {one.name: one for one in figures}
    rows = []
    for target in TARGETS:
        cpu, wall = by_name[target.name], by_name[f"{target.name}_by_wall"]
        verdict = target.verdict(cpu.value)
        rows.append([f"`{target.name}`", target.what, spread(cpu, ".2f"), spread(wall, ".2f"), f"at most {target.least:g}",
                     f"{target.aim:g}", verdict])  # fmt: skip
    processes = [
        [what, spread(by_name[f"helper_{name}_cpu_ms"], ".1f"), spread(by_name[f"helper_{name}_wall_ms"], ".1f")]
        for name, what in NAMES.items()
    ]
    return [
        *table(["name", "what", "by processor time", "by time", "target", "aim", "verdict"], rows),
        "",
        *table(["process", "processor time, ms", "time, ms"], processes),
        "",
        (
            f"Medians of {runs} processes of each kind, in turn; behind them the lowest and highest median of"
            f" {RUNS_OF_A_ROUND}. The verdict is that of the processor time (user's and kernel's), which hardly moves"
            " when the machine does something else. Through the daemon, the daemon itself needs"
            f" {by_name['helper_daemon_cpu_ms'].value:.1f} ms of processor time for each question besides."
        ),
    ]
