"""`tms-ca` on the machines of hosts: invite, status, enforcement, and the warning before a CA key signs."""

import hashlib
import subprocess
import urllib.error
from pathlib import Path

import pytest

from tests.client.conftest import Operator, Running


def test_an_invitation_is_the_command_for_the_machine(operator: Operator):
    operator("hosts", "create", "stampede3")
    (key,) = [key for key in operator.json("ca", "list") if key["purpose"] == "host"]
    said = operator("hosts", "invite", "stampede3", "--lifetime", "5m")
    words = said.out.split()
    assert words[:2] == ["tms-host", "join"]
    assert words[2].startswith("http")
    assert words[3].startswith("tms_j_")
    assert words[4:] == ["--host-ca", key["fingerprint"]]
    assert "good once, until" in said.err
    assert "set listen.public_url" in said.err
    assert "host_unknown" in operator("hosts", "invite", "nowhere", code=1).err
    assert "lifetime" in operator("hosts", "invite", "stampede3", "--lifetime", "30", code=2).err


def test_status_names_what_is_wrong_and_activate_warns(running: Running, tmp_path: Path):
    operator = running.operator
    tenant = "/api/v1/tenants/default"
    running.api("POST", f"{tenant}/hosts", {"host": "h7"})
    assert operator("hosts", "status", "--host", "h7").out.split() == [
        "host", "machine", "reported_at", "KRL", "CA_keys", "clock", "when_away", "wrong",
    ]  # fmt: skip
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key"], check=True)
    token = operator.json("hosts", "invite", "h7")["join_token"]
    secret = "tms_h_" + "x" * 43
    body = {
        "join_token": token,
        "credential_sha256": hashlib.sha256(secret.encode()).hexdigest(),
        "node": "login1",
        "ssh_host_keys": [(tmp_path / "key.pub").read_text().strip()],
    }
    joined = running.api("POST", "/api/v1/join", body, basic="admin:" + running.admin)
    assert joined["host"] == "h7"
    with pytest.raises(urllib.error.HTTPError):
        running.api("POST", "/api/v1/join", body)
    status = operator("hosts", "status", "--host", "h7", code=1)
    assert "has never reported" in status.out
    new = operator.json("ca", "create", "--purpose", "user")
    warned = operator("ca", "activate", new["fingerprint"])
    assert "1 machines have not reported that they trust this key: h7/login1" in warned.err
    written = operator.json("krl", "write", tmp_path / "krl")  # other tests have revoked something in it, or not yet
    report = {
        "node": "login1",
        "user_ca_fingerprints": [key["fingerprint"] for key in operator.json("ca", "list") if key["purpose"] == "user"],
        "krl_version": str(written["version"]),
        "trust_epoch": "1",
        "clock_offset_ms": 0,
        "openssh_version": "OpenSSH_9.2p1",
        "tms_host_version": "0.1.0",
        "when_away": "closed",
    }
    running.api("POST", f"{tenant}/hosts/h7/reports", report, basic="h7:" + secret)
    assert "wrong" in operator("hosts", "status", "--host", "h7").out
    (node,) = operator.json("hosts", "status", "--host", "h7")
    assert (node["node"], node["wrong"]) == ("login1", [])
    made = operator.json("revocations", "create", "--host", "h7", "--reason", "test")
    shown = operator("revocations", "enforcement", made["id"]).out
    assert "enforced by 0 of 1 machines" in shown
    assert "h7" in shown
    secrets = operator("hosts", "secrets", "h7").out
    assert "login1" in secrets
    operator("hosts", "remove-machine", "h7", "login1")
    assert operator.json("hosts", "status", "--host", "h7") == []
    assert "node_unknown" in operator("hosts", "remove-machine", "h7", "login1", code=1).err
