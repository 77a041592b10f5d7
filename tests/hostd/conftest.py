"""A host as it is installed: the staged tree, a configuration, the running daemon, and a service that can lie."""

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from keycmd import hostcert, session, trustfile
from keycmd.admin import daemon as admin_daemon
from keycmd.hostd import report
from tests import patient
from tests.host.conftest import ENVIRONMENT, KEY_ID, PYTHON, TOKEN, Ran, directory_for_all, shipped, staged  # noqa: F401 - fixtures
from tests.host.liar import Liar, Question, gone
from tests.host.sshd import keygen
from tests.host.test_faults import true_answer

NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n"


def until(condition: Callable[[], object], seconds: float = 60.0, what: str = "the condition") -> None:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what} did not come within {seconds} s"
        time.sleep(0.02)


def listens(path: Path) -> bool:
    """Tell whether somebody listens there; the file alone is there before that, and when a daemon was killed."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


class Service(Liar):
    """As Liar, but each connection has a thread, and only login checks are answered: the rest is not found."""

    answered: tuple[bytes, ...] = (b"/principals HTTP/1.1",)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=[connection], daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, ValueError):
            self._serve(connection)

    def _answer(self, connection: socket.socket) -> None:
        received = b""
        while b"\r\n\r\n" not in received:
            piece = connection.recv(65536)
            if not piece:
                return
            received += piece
        head, _, body = received.partition(b"\r\n\r\n")
        lengths = [line.split(b":")[1] for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")]
        while len(body) < int(lengths[0] if lengths else 0):
            body += connection.recv(65536) or gone()
        if not any(path in head for path in self.answered):
            connection.sendall(NOT_FOUND)
            return
        question = Question(head.decode(), json.loads(body), connection)
        self.questions.append(question)
        said = self.reply(question)
        if said is not None:
            connection.sendall(said)


@dataclass
class Host:
    """One host: `prefix` is the installed tree, `directory` has the configuration and what the daemon writes."""

    prefix: Path
    directory: Path
    certificate: str
    uid: int = field(default_factory=os.geteuid)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)

    @property
    def config(self) -> Path:
        return self.directory / "host.conf"

    @property
    def ask_socket(self) -> Path:
        return self.directory / "run" / "ask.sock"

    def configure(self, *urls: str, **more: str) -> Path:
        token = self.directory / "token"
        if not token.exists():
            token.touch(0o600)
            token.write_text(TOKEN + "\n")
            os.chown(token, self.uid, -1)
        for name in ("run", "state"):
            (self.directory / name).mkdir(exist_ok=True)
            os.chown(self.directory / name, self.uid, -1)
        values = {
            "url": " ".join(urls), "tenant": "default", "host": "h1", "token_file": str(token), "timeout_seconds": patient.LONGEST,
            "run_dir": str(self.directory / "run"), "state_dir": str(self.directory / "state"), **more,
        }  # fmt: skip
        self.config.write_text("".join(f"{key} = {value}\n" for key, value in values.items() if value))
        self.config.chmod(0o644)
        return self.config

    def command(self, python: str = PYTHON) -> list[str]:
        """Return the command line of the daemon, which runs as this host's user."""
        daemon = [python, "-ISE", str(self.prefix / "sbin/tms-hostd"), "--config", str(self.config)]
        if self.uid == os.geteuid():
            return daemon
        return ["setpriv", f"--reuid={self.uid}", f"--regid={self.uid}", "--clear-groups", *daemon]

    def start(self, *, wrap=list, environment: dict[str, str] | None = None, python: str = PYTHON) -> "subprocess.Popen[bytes]":  # fmt: skip
        """Start the daemon; return once it listens. `wrap` may put its command line into a namespace."""
        with suppress(FileNotFoundError):
            self.ask_socket.unlink()
        with (self.directory / "hostd.err").open("ab") as errors:
            process = subprocess.Popen(
                wrap(self.command(python)), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, cwd="/",
                env={**ENVIRONMENT, **(environment or {})},
            )  # fmt: skip
        self.processes.append(process)
        for name in ("ask.sock", "session.sock"):
            until(lambda: process.poll() is not None or self.listens(name), what="the daemon")  # noqa: B023 - called at once
        assert process.poll() is None, self.errors
        return process

    def listens(self, name: str = "ask.sock") -> bool:
        return listens(self.directory / "run" / name)

    @property
    def errors(self) -> str:
        """What the daemon wrote to standard error: its log, where there is no syslog."""
        return (self.directory / "hostd.err").read_text()

    def question(self, account: str = "alice") -> bytes:
        kind, blob = self.certificate.split()[:2]
        return f"principals {account} {kind} {blob}\n".encode()

    def say(self, line: bytes, name: str = "ask.sock") -> bytes:
        """Send a line to the daemon; return all that it says."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(120)
            connection.connect(str(self.directory / "run" / name))
            connection.sendall(line)
            received = b""
            while piece := connection.recv(65536):
                received += piece
            return received

    def status(self) -> dict:
        kind, _, text = self.say(b"status\n").partition(b"\n")
        assert kind == b"json"
        return json.loads(text)

    def arguments(self, account: str = "alice", python: str = PYTHON) -> list[str]:
        """Return the command line of tms-principals, as sshd would make it."""
        kind, blob = self.certificate.split()[:2]
        program = str(self.prefix / "libexec/tms/tms-principals")
        return [python, "-ISE", program, "--config", str(self.config), account, kind, blob]

    def ask(self, account: str = "alice", *, wrap=list, python: str = PYTHON, environment=None) -> Ran:
        """Run tms-principals."""
        command, begun = wrap(self.arguments(account, python)), time.monotonic()
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False, cwd="/",
            env={**ENVIRONMENT, **(environment or {})},
        )  # fmt: skip
        return Ran(done.returncode, done.stdout, time.monotonic() - begun)

    def stop(self) -> None:
        """End what `start` started."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
            process.wait(60)
        self.processes.clear()


@pytest.fixture(autouse=True)
def patient_parts(monkeypatch) -> None:
    """What is called in this process has as much time as what is installed: see tests/patient.py."""
    for module, name in (
        (admin_daemon, "SECONDS"), (hostcert, "CHECK_SECONDS"), (report, "VERSION_SECONDS"), (session, "SECONDS"),
        (trustfile, "VERIFY_SECONDS"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, patient.SECONDS)


@pytest.fixture(scope="session")
def made_certificate(tmp_path_factory) -> str:
    """A certificate that ssh-keygen made."""
    where = tmp_path_factory.mktemp("certificate")
    for name in ("ca", "id"):
        keygen("-t", "ed25519", "-N", "", "-C", "", "-f", where / name)
    keygen("-s", where / "ca", "-I", KEY_ID, "-n", "alice@h1", "-z", "7", "-V", "-1m:+1h", where / "id.pub")
    return (where / "id-cert.pub").read_text().strip()


@pytest.fixture
def host(staged: Path, made_certificate: str) -> Iterator[Host]:  # noqa: F811
    os.umask(0o022)
    with directory_for_all("host") as directory:
        made = Host(staged, directory, made_certificate)
        yield made
        made.stop()


@pytest.fixture
def impatient(shipped: Path, made_certificate: str) -> Iterator[Host]:  # noqa: F811
    """A host whose kernel ends the helper as it would elsewhere; it has no daemon."""
    os.umask(0o022)
    with directory_for_all("impatient") as directory:
        yield Host(shipped, directory, made_certificate)


@pytest.fixture
def service() -> Iterator[Service]:
    """A service that tells the truth until a test gives it another `reply`."""
    with Service(true_answer) as running:
        yield running


@pytest.fixture
def url(service: Service) -> str:
    return f"http://127.0.0.1:{service.port}"
