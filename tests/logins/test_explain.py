"""`tms-ca explain-login`: the same verdict as the login check, its reasons, its exit code; and nothing recorded."""

import asyncio
import json

import pytest

from tests.logins.telling import certificate_of, lines_of, open_login, told
from tests.logins.test_unissued import forge, stolen
from tms_ca.cli.explain import _advice
from tms_ca.cli.main import main
from tms_ca.signing import SoftwareSigner


@pytest.fixture
def ask(world, capsys, monkeypatch):
    """Run the command on the world's database, at the world's time; return its exit code and what it printed."""
    monkeypatch.setattr("tms_ca.services.clock.SystemClock.now", lambda _: world.clock.now())
    monkeypatch.setattr("tms_ca.services.clock.SystemClock.now_ms", lambda _: world.clock.now_ms())

    async def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        whole = ["explain-login", *arguments, "--data", str(world.settings.data)]
        code = await asyncio.get_running_loop().run_in_executor(None, main, whole)
        printed = capsys.readouterr()
        return code, printed.out + printed.err

    return run


async def events(world) -> int:
    return len((await world.good("GET", "audit-events?limit=1000", auth=world.operator))["items"])


async def test_a_login_that_would_be_let_in(world, ask, tmp_path):
    issued = (await world.issue()).json
    path = tmp_path / "id-cert.pub"
    path.write_text(f"{issued['certificate']} alice@laptop\n")
    await world.good("PATCH", f"delegations/{world.delegation['id']}/restrictions", auth=world.operator,
                     json={"restrict": True, "source_address": ["10.0.0.0/8"]})  # fmt: skip
    before = await events(world)
    line = (await lines_of(world, issued["certificate"])).body.decode().strip()
    for what in (issued["serial"], str(path)):
        code, text = await ask("h1", "alice", what)
        assert code == 0, text
        assert f"    {line}\n" in text
        assert "!!" not in text
        for word in (
            "certificate",
            "CA key",
            "public key",
            "client",
            "user",
            "MFA window",
            "account link",
            "delegation",
        ):
            assert word in text
        assert "tms-host doctor" in text
    assert await events(world) == before


async def end_link(world):
    (link,) = (await world.good("GET", "account-links", auth=world.operator))["items"]
    until = {"expires_at": "2026-05-28T20:27:40Z"}
    await world.good("PATCH", f"account-links/{link['id']}", auth=world.operator, json=until)
    world.clock.move(3600)


CASES = [
    (lambda w, s: w.good("POST", "revocations", auth=w.operator, json={"serial": s, "reason": "x"}),
     "certificate_revoked", "certificate"),
    (lambda w, _: w.good("PATCH", "users/alice", auth=w.operator, json={"enabled": False}), "user_disabled", "user"),
    (lambda w, _: w.good("PATCH", "clients/portal", auth=w.operator, json={"enabled": False}), "client_disabled", "client"),
    (lambda w, _: w.good("PATCH", "hosts/h1", auth=w.operator, json={"enabled": False}), "host_disabled", "host"),
]  # fmt: skip


@pytest.mark.parametrize(("spoil", "code", "thing"), CASES, ids=[case[1] for case in CASES])
async def test_what_refuses_is_named(world, ask, spoil, code, thing):
    issued = (await world.issue()).json
    await spoil(world, issued["serial"])
    status, text = await ask("h1", "alice", issued["serial"])
    assert status == 1
    assert f"({code})" in text
    assert f"docs/errors.md#{code}" in text
    assert [line.split()[1] for line in text.splitlines() if line.startswith("!!")] == [thing]
    if thing != "host":  # a host that is disabled is refused before it can ask
        assert (await world.check(issued["certificate"])).code == code
    found = json.loads((await ask("h1", "alice", issued["serial"], "--json"))[1])
    assert (found["allowed"], found["code"], found["lines"]) == (False, code, [])


async def test_everything_that_is_wrong_is_marked_not_only_what_refuses_first(world, ask):
    issued = (await world.issue()).json
    await world.good("PATCH", "users/alice", auth=world.operator, json={"enabled": False})
    world.clock.move(24 * 3600)
    status, text = await ask("h1", "alice", issued["serial"])
    assert status == 1
    assert "(certificate_expired)" in text
    marked = [line for line in text.splitlines() if line.startswith("!!")]
    assert [line.split()[1] for line in marked] == ["certificate", "user", "MFA"]


async def test_the_count_of_logins_is_shown(world, ask):
    await world.good("POST", f"delegations/{world.delegation['id']}/revoke", auth=world.sessions["alice"])
    await world.delegate("alice", "portal", "h1", "alice", constraints={"max_uses": 1})
    issued = (await world.issue()).json
    assert (await ask("h1", "alice", issued["serial"]))[0] == 0
    assert (await open_login(world, told(world, issued["certificate"]))).status == 201
    status, text = await ask("h1", "alice", issued["serial"])
    assert status == 1
    assert "uses_exhausted" in text
    assert "!!  logins left" in text


@pytest.mark.parametrize(("host", "account", "code"), [
    ("h1", "bob", "certificate_other_account"), ("h2", "alice", "certificate_other_host"),
])  # fmt: skip
async def test_another_question_gets_another_answer(world, ask, host, account, code):
    await world.add_host("h2")
    issued = (await world.issue()).json
    status, text = await ask(host, account, issued["serial"])
    assert (status, code in text) == (1, True)


async def test_a_certificate_of_nobody(world, ask, tmp_path):
    path = tmp_path / "cert.pub"
    path.write_text(await forge(world, SoftwareSigner.generate("ed25519")))
    status, text = await ask("h1", "alice", str(path))
    assert status == 1
    assert "certificate_unknown" in text
    assert "no CA key of this tenant has signed it" in text


async def test_a_certificate_of_a_stolen_key(world, ask, tmp_path):
    path = tmp_path / "cert.pub"
    path.write_text(await forge(world, await stolen(world)))
    before = await events(world)
    status, text = await ask("h1", "alice", str(path))
    assert status == 1
    assert "the CA key is in other hands" in text
    assert await events(world) == before


async def test_an_altered_certificate(world, ask, tmp_path):
    issued = (await world.issue()).json
    path = tmp_path / "cert.pub"
    path.write_text(await forge(world, await stolen(world), serial=int(issued["serial"])))
    status, text = await ask("h1", "alice", str(path))
    assert status == 1
    assert "certificate_altered" in text
    assert "other bytes than those on record" in text


async def test_a_serial_that_was_never_issued(world, ask):
    status, text = await ask("h1", "alice", "12345")
    assert (status, "not on record" in text) == (1, True)


@pytest.mark.parametrize("arguments", [
    ("h1", "alice", "/nonexistent"), ("h1", "alice", "0"), ("h 1", "alice", "1"), ("h1", "al ice", "1"),
    ("h1", "alice", "99999999999999999999"),
])  # fmt: skip
async def test_a_wrong_question_is_2(world, ask, arguments):
    assert (await ask(*arguments))[0] == 2


async def test_a_file_that_holds_no_certificate_is_2(world, ask, tmp_path):
    for content in ("", "hello", world.issue_body()["public_key"], "ssh-ed25519-cert-v01@openssh.com AAAA", "é"):
        path = tmp_path / "file"
        path.write_text(content)
        assert (await ask("h1", "alice", str(path)))[0] == 2, content


async def test_an_unknown_tenant_is_an_error(world, ask):
    await certificate_of(world)
    assert (await ask("h1", "alice", "1", "--tenant", "nobody"))[0] == 1


def test_a_refusal_without_advice_names_the_page_alone():
    assert _advice("", "uses_exhausted") == "see docs/errors.md#uses_exhausted"
    assert _advice("wait", "mfa_expired") == "wait (docs/errors.md#mfa_expired)"
