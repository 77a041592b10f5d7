"""The helper runs on every Python of the fleet, 3.6 on, in clear and over TLS, with nothing beside it."""

import shutil
from pathlib import Path

import pytest

from tests.host.liar import Liar, answer
from tests.host.test_faults import true_answer
from tests.host.test_tls import _context, pki  # noqa: F401 - a fixture

VERSIONS = ("3.6", "3.7", "3.8", "3.9", "3.10", "3.11", "3.12", "3.13", "3.14")


def _python(version: str) -> str:
    """Return an interpreter of that version that is not a virtual environment's."""
    for found in sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")):
        return str(found)
    for name in (f"python{version}", f"/usr/libexec/platform-python{version}"):
        found = shutil.which(name, path="/usr/bin:/usr/local/bin:/usr/libexec")
        if found:
            return found
    pytest.skip(f"no Python {version} on this machine")


@pytest.mark.parametrize("version", VERSIONS)
def test_G_04_every_python_says_yes_and_no(helper, pki, version):  # noqa: F811
    python = _python(version)
    with Liar(true_answer) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.ask(python=python)
        assert (ran.status, ran.out) == (0, b"alice@h1\n")
        service.reply = lambda q: answer(bound=q.bound.replace("alice", "root"))
        ran = helper.ask(python=python)
        assert (ran.status, ran.out) == (1, b"")
    with Liar(true_answer, _context(pki, "good")) as service:
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file=str(pki / "ca.pem"))
        ran = helper.ask(python=python)
        assert (ran.status, ran.out) == (0, b"alice@h1\n")
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file=str(pki / "other.pem"))
        assert helper.ask(python=python).status == 1
    with Liar(true_answer, _context(pki, "wrong")) as service:
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file=str(pki / "ca.pem"))
        ran = helper.ask(python=python)
        assert (ran.status, ran.out, service.questions) == (1, b"", [])


def test_G_04_no_state_is_needed_or_left(helper):
    """Not one file is written; tests/hostd/test_quick.py looks at bytecode, too."""
    with Liar(true_answer) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        before = {path: path.stat().st_mtime_ns for path in helper.directory.rglob("*")}
        assert helper.ask().status == 0
    assert {path: path.stat().st_mtime_ns for path in helper.directory.rglob("*")} == before
