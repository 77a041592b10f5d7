"""`tms-ca` on what was trusted: revocations, CA keys, KRL, admins - and the audit chains that tell of it."""

import base64
import contextlib
import sqlite3
import subprocess
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from tests.client.conftest import Machines, Operator, Running


def test_a_blocked_user_acts_again_once_the_revocation_is_lifted(operator: Operator):
    operator("users", "create", "alice", "--no-password")
    made = operator.json("revocations", "create", "--user", "alice", "--reason", "laptop stolen")
    assert (made["selector"], made["value"], made["reason"]) == ("user", "alice", "laptop stolen")
    assert operator.json("users", "show", "alice")["revocation_id"] == made["id"]
    assert "already_revoked" in operator("revocations", "create", "--user", "alice", "--reason", "x", code=1).err
    assert "there is no user 'bob'" in operator("revocations", "create", "--user", "bob", "--reason", "x", code=1).err
    operator("revocations", "lift", made["id"])
    assert operator.json("users", "show", "alice")["revocation_id"] is None
    assert "revocation_lifted" in operator("revocations", "lift", made["id"], code=1).err
    assert [one["id"] for one in operator.json("revocations", "list", "--selector", "user")] == [made["id"]]
    assert operator.json("revocations", "list", "--selector", "host") == []


def test_a_ca_key_is_published_before_it_signs_and_retired_after(operator: Operator):
    (old,) = [key for key in operator.json("ca", "list") if key["purpose"] == "user"]
    new = operator.json("ca", "create", "--purpose", "user")
    assert new["state"] == "next"
    lines = operator("ca", "export").out.splitlines()
    assert [line.rsplit("-", 1)[1] for line in lines] == ["active", "next"]
    assert {" ".join(line.split()[:2]) for line in lines} == {old["public_key"], new["public_key"]}
    assert "ca_key_state" in operator("ca", "retire", old["fingerprint"], code=1).err
    operator("ca", "activate", new["fingerprint"])
    operator("ca", "retire", old["fingerprint"])
    assert [line.split()[:2] for line in operator("ca", "export").out.splitlines()] == [new["public_key"].split()]
    assert "ca_key_state" in operator("ca", "activate", old["fingerprint"], code=1).err
    (host_line,) = operator("ca", "export", "--host").out.splitlines()
    assert host_line.endswith("tms-default-host-ca-active")


def test_export_prints_what_the_service_publishes(running: Running):
    assert running.operator("ca", "export").out == running.api("GET", "/api/v1/tenants/default/ca/user.pub")
    assert running.operator("ca", "export", "--host").out == running.api("GET", "/api/v1/tenants/default/ca/host.pub")


def test_the_krl_is_replaced_as_a_whole(operator: Operator, tmp_path: Path):
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    fingerprint = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key"], check=True, capture_output=True, text=True
    ).stdout.split()[1]
    krl = tmp_path / "out" / "default.krl"
    assert "No such file or directory" in operator("krl", "write", krl, code=1).err
    krl.parent.mkdir()
    krl.write_text("old")
    operator("krl", "write", krl)
    query = ["ssh-keygen", "-Q", "-f", krl, tmp_path / "key.pub"]
    assert subprocess.run(query, capture_output=True).returncode == 0
    operator("revocations", "create", "--public-key-fingerprint", fingerprint, "--reason", "leaked")
    operator("krl", "write", krl)
    assert b"REVOKED" in subprocess.run(query, capture_output=True).stdout
    assert [one.name for one in krl.parent.iterdir()] == ["default.krl"]


def test_an_admin_and_an_operator_come_and_go(running: Running):
    carol = running.operator.json("admins", "create", "carol")
    pager = running.operator.json("admins", "create", "pager", "--operator")
    admin, operator = f"carol:{carol['secret']}", f"pager:{pager['secret']}"
    assert "items" in running.api("GET", "/api/v1/tenants/default/clients", basic=admin)
    with pytest.raises(urllib.error.HTTPError, match="403"):
        running.api("GET", "/api/v1/tenants", basic=admin)
    assert "items" in running.api("GET", "/api/v1/tenants", basic=operator)
    assert [one["admin_id"] for one in running.operator.json("admins", "list")] == ["carol"]
    assert "admin_unknown" in running.operator("admins", "delete", "pager", code=1).err
    running.operator("admins", "delete", "carol")
    running.operator("admins", "delete", "pager", "--operator")
    running.operator("admins", "create", "pager", "--operator")  # the old secret must not come back with the name
    for basic in (admin, operator):
        with pytest.raises(urllib.error.HTTPError, match="401"):
            running.api("GET", "/api/v1/tenants/default/clients", basic=basic)


def test_the_commands_show_what_the_api_shows(running: Running):
    assert running.operator.json("clients", "show", "rival") == running.api(
        "GET", "/api/v1/tenants/default/clients/rival"
    )
    assert running.operator.json("ca", "list") == running.api("GET", "/api/v1/tenants/default/ca-keys")["items"]


def test_a_serving_process_notices_a_change_at_once(running: Running, machines: Machines):
    running.operator("clients", "create", "fleeting")
    secret = running.operator.json("clients", "new-secret", "fleeting")["secret"]
    portal = machines.person("portal")
    asked = ("delegation", "dlg_aaaaaaaaaaaaaaaaaaaa", "--client-id", "fleeting")
    assert "delegation_unknown" in portal(*asked, code=1, TMS_CLIENT_SECRET=secret).err
    running.operator("clients", "update", "fleeting", "--disable")
    assert "client_disabled" in portal(*asked, code=1, TMS_CLIENT_SECRET=secret).err


def _change(operator: Operator, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(operator.data / "tms.db")) as database:
        assert database.execute(statement).rowcount == 1
        database.commit()


def _event(operator: Operator) -> tuple[str, int]:
    operator("clients", "create", "portal")
    event = operator.json("audit", "list", "--action", "clients.create")[0]
    assert (event["actor"].startswith("operator:local-uid-"), event["target"]) == (True, "portal")
    return event["chain"], event["seq"]


def test_untouched_chains_hold(operator: Operator):
    _event(operator)
    done = operator("audit", "verify")
    assert done.out.startswith("every chain holds: ")
    assert operator.json("audit", "verify")["faults"] == []


@pytest.mark.parametrize("statement", ["UPDATE audit_events SET actor = 'client:rival'", "DELETE FROM audit_events"])
def test_a_tampered_event_is_found_and_named(operator: Operator, statement: str):
    chain, seq = _event(operator)
    _change(operator, f"{statement} WHERE chain = '{chain}' AND seq = {seq}")
    done = operator("audit", "verify", code=1)
    assert f"chain {chain} is not whole at event {seq}: " in done.out
    (fault,) = operator("audit", "verify", "--json", code=1).json["faults"]
    assert (fault["chain"], fault["seq"]) == (chain, seq)


def test_a_chain_cut_short_is_found(operator: Operator):
    chain, _ = _event(operator)
    _change(operator, f"DELETE FROM audit_events WHERE chain = '{chain}' AND seq = 2")
    _change(operator, f"UPDATE audit_chains SET head_seq = 1, head_hash = (SELECT hash FROM audit_events WHERE chain = '{chain}') WHERE chain = '{chain}'")  # fmt: skip
    assert f"chain {chain}" in operator("audit", "verify", code=1).out


def test_events_cannot_give_orders_to_the_terminal(running: Running):
    request = urllib.request.Request(f"{running.url}/api/v1/tenants/default/clients")
    evil = base64.b64encode(b"\x1b]0;owned\x07\n:wrong").decode()
    request.add_header("Authorization", f"Basic {evil}")
    with pytest.raises(urllib.error.HTTPError, match="401"):
        urllib.request.urlopen(request, timeout=120)
    shown = running.operator("audit", "list", "--limit", "50").out
    assert "\x1b" not in shown
    assert "\\x1b]0;owned\\x07\\n" in shown
