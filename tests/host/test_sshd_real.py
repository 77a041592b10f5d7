"""A real sshd asks the built helper, and the helper a service that tells the truth, says no, is down, or lies."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from deploy.sandbox_sshd import HelperFiles, SandboxSshd
from tests.host.conftest import TOKEN
from tests.host.liar import Liar, Reply, answer
from tests.host.sshd import Authority
from tests.host.test_faults import LIES, SILENT, true_answer
from tests.patient import FOR_A_CROWD

PRINCIPAL = "alice@h1"  # what `true_answer` prints
PATIENT, IMPATIENT = float(FOR_A_CROWD), 0.7  # the helper's deadline in seconds; sshd's own patience is 300
FAILED = " failed, status 1"


@dataclass
class Place:
    """One sshd, its helper's service, and who comes to log in."""

    sshd: SandboxSshd
    service: Liar
    authority: Authority
    made: dict[str, tuple[Path, Path]] = field(default_factory=dict)

    def login(
        self, *principals: str, reply: Reply = true_answer, command: str = "echo in"
    ) -> "subprocess.CompletedProcess[str]":
        """Log in with a certificate for these principals while the service answers so."""
        name = "-".join(principals).replace("@", "-at-")
        if name not in self.made:
            self.made[name] = self.authority.issue(name, *principals)
        self.service.reply = reply
        self.service.questions.clear()
        return self.sshd.ssh(*self.made[name], command)


@contextmanager
def furnished(where: Path, staged: Path, seconds: float) -> Iterator[Place]:
    authority = Authority(where)
    with Liar(true_answer) as service:
        url = f"http://127.0.0.1:{service.port}"
        files = HelperFiles(staged / "libexec/tms/tms-principals", url, "default", "h1", TOKEN, timeout_seconds=seconds)
        with SandboxSshd(where, authority.lines, files) as sshd:
            yield Place(sshd, service, authority)


@pytest.fixture(scope="module")
def place(staged, tmp_path_factory) -> Iterator[Place]:
    with furnished(tmp_path_factory.mktemp("patient"), staged, PATIENT) as place:
        yield place


@pytest.fixture(scope="module")
def impatient(staged, tmp_path_factory) -> Iterator[Place]:
    with furnished(tmp_path_factory.mktemp("impatient"), staged, IMPATIENT) as place:
        yield place


def test_the_truth_opens_a_session(place):
    done = place.login(PRINCIPAL)
    assert (done.returncode, done.stdout) == (0, "in\n"), done.stderr + place.sshd.log
    assert 'Accepted certificate ID "v1;alice-at-h1" (serial 7)' in place.sshd.log
    # bar fact 1: sshd asks twice for one login, so that nothing may be counted or consumed by the question.
    assert [question.body["account"] for question in place.service.questions] == [place.sshd.account] * 2


def test_a_clean_no_refuses(place):
    problem = b'{"code":"certificate_revoked"}'
    done = place.login(
        PRINCIPAL, reply=lambda _: answer(problem, status="403 Forbidden", kind="application/problem+json")
    )
    assert (done.returncode, done.stdout, len(place.service.questions)) == (255, "", 1)
    assert place.login(PRINCIPAL).returncode == 0


def test_another_principal_refuses(place):
    """The answer is true, but it names no principal of this certificate."""
    assert place.login("bob@h1").returncode == 255
    assert place.login("bob@h1", PRINCIPAL).returncode == 0


def test_another_ca_refuses(place, tmp_path):
    stranger = Authority(tmp_path).issue("stranger", PRINCIPAL)
    assert place.sshd.ssh(*stranger, "echo in").returncode == 255


@pytest.mark.parametrize("lie", sorted(LIES.keys() - SILENT), ids=lambda lie: lie.replace(" ", "-"))
def test_G_01_sshd_refuses_a_lie(place, lie):
    done = place.login(PRINCIPAL, reply=LIES[lie])
    assert (done.returncode, done.stdout) == (255, ""), lie
    assert place.service.questions, "the helper never asked"


@pytest.mark.parametrize("lie", sorted(SILENT), ids=lambda lie: lie.replace(" ", "-"))
def test_G_01_sshd_refuses_a_service_that_keeps_it_waiting(impatient, lie):
    before = impatient.sshd.log.count(FAILED)
    done = impatient.login(PRINCIPAL, reply=LIES[lie])
    assert (done.returncode, done.stdout) == (255, "")
    # The helper's deadline ended the wait: it failed, and sshd still had patience.
    assert impatient.sshd.log.count(FAILED) == before + 1
    assert "Timeout before authentication" not in impatient.sshd.log


def test_G_01_a_service_that_is_down_refuses(place):
    """Its port is closed; open again, the next login is in."""
    place.service.__exit__()
    try:
        assert place.login(PRINCIPAL).returncode == 255
    finally:
        place.service.open(place.service.port)
    assert place.login(PRINCIPAL).returncode == 0


def test_G_02_sixty_logins_at_once(place):
    """All of them, each with two questions; MaxStartups is 300. How long it took is for the machine to say."""
    assert place.login(PRINCIPAL).returncode == 0
    with ThreadPoolExecutor(60) as pool:
        results = list(pool.map(lambda _: place.sshd.ssh(*place.made["alice-at-h1"], "echo in"), range(60)))
    assert [result.stdout for result in results] == ["in\n"] * 60, [result.stderr for result in results]


@pytest.mark.skipif(os.geteuid() != 0, reason="an ordinary user's sshd has no helper account")
def test_G_04_the_helper_is_an_account_of_its_own_that_can_do_nothing_else(place):
    done = place.login(PRINCIPAL, command="cat /run/tms/token; ls -l /run/tms; id -un")
    assert TOKEN not in done.stdout
    assert "Permission denied" in done.stderr
    assert "-r-------- 1 tms-helper" in done.stdout
    assert done.stdout.endswith("alice\n")


def test_nothing_is_left_behind(tmp_path):
    """sshd, its sessions and its namespace end with it, and the machine's own accounts were never touched."""
    before = Path("/etc/passwd").read_bytes()
    authority = Authority(tmp_path)
    sshd = SandboxSshd(tmp_path, authority.lines, HelperFiles(None, "http://127.0.0.1:1", "default", "h1", TOKEN))
    sshd.start()
    inside = _processes_with(str(tmp_path))
    assert inside
    sshd.stop()
    assert _processes_with(str(tmp_path)) == []
    assert Path("/etc/passwd").read_bytes() == before
    sshd.stop()  # once more does no harm


def _processes_with(text: str) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text.encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found
