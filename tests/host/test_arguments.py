"""What sshd passes is data: it never reaches a shell, a path or the request unchecked. Nor does the environment count."""

import pytest

from tests.host.liar import Liar
from tests.host.test_faults import true_answer

HOSTILE_ACCOUNTS = [
    "$(touch pwned)", "`id`", "alice;id", "alice\nroot", 'alice"', "alice\\", "../../etc", "-alice", "", "Alice", "a" * 33,
    "älice", "alice root", "*", "alice#", "%u",
]  # fmt: skip


@pytest.mark.parametrize("account", HOSTILE_ACCOUNTS)
def test_G_04_a_hostile_account_is_never_sent(helper, account):
    with Liar(true_answer) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.ask(account)
        good = helper.ask("alice")
    assert (ran.status, ran.out) == (1, b"")
    assert (good.status, good.out) == (0, b"alice@h1\n")
    assert [question.body["account"] for question in service.questions] == ["alice"]


@pytest.mark.parametrize(
    ("kind", "blob"),
    [
        ("ssh-ed25519", "AAAA"), ("ssh-ed25519-cert-v01@openssh.com", 'AA"A'), ("ssh-ed25519-cert-v01@openssh.com", ""),
        ("ssh-ed25519-cert-v01@openssh.com", "A" * 65540), ("ssh-dss-cert-v01@openssh.com", "AAAA"), ("", "AAAA"),
        ("ssh-ed25519-cert-v01@openssh.com\n", "AAAA"), ("ssh-ed25519-cert-v01@openssh.com", "AAAA AAAA"),
        ("ssh-ed25519-cert-v01@openssh.com", "AA=A"), ("ssh-ed25519-cert-v01@openssh.com", "AAB="), ("ssh-ed25519-cert-v01@openssh.com", "AAA"),
        ("ssh-ed25519-cert-v01@openssh.com", "AAAA===="), ("rsa-sha2-512-cert-v01@openssh.com", "AAAA"),
    ],
)  # fmt: skip
def test_G_04_a_hostile_certificate_is_never_sent(helper, kind, blob):
    with Liar(true_answer) as service:
        path = helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.run("--config", str(path), "alice", kind, blob)
    assert (ran.status, ran.out) == (1, b"")
    assert service.questions == []


@pytest.mark.parametrize("arguments", [[], ["alice"], ["alice", "t"], ["alice", "t", "b", "more"], ["--config"]])
def test_wrong_arguments_are_refused(helper, arguments):
    ran = helper.run(*arguments)
    assert (ran.status, ran.out) == (1, b"")


def test_G_04_the_environment_does_not_matter(helper, tmp_path):
    (tmp_path / "keycmd").mkdir()
    (tmp_path / "keycmd" / "__init__.py").write_text("raise SystemExit(0)")
    hostile = {
        "http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "PYTHONPATH": str(tmp_path),
        "PYTHONHOME": str(tmp_path), "PYTHONSTARTUP": "/nonexistent", "SSL_CERT_FILE": "/nonexistent", "LANG": "tr_TR.UTF-8",
    }  # fmt: skip
    with Liar(true_answer) as service:
        helper.configure(f"http://127.0.0.1:{service.port}")
        ran = helper.ask(environment=hostile)
    assert (ran.status, ran.out) == (0, b"alice@h1\n")
