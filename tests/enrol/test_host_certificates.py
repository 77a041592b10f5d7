"""Host certificates: what ssh-keygen reads in them, what a real ssh does with them, and what ends them."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.sandbox_sshd import SandboxSshd
from tests.api.stores import events, query
from tests.enrol.machine import host_key, invite, join, join_body, new_credential

RELAY = Path(__file__).with_name("relay.py")
NAMES = ["login1.h1.example.org", "h1-alias", "10.9.8.7"]


def listing(directory, certificate):
    """Return what ssh-keygen -L says, by heading."""
    (directory / "it-cert.pub").write_text(certificate + "\n")
    text = subprocess.run(
        ["ssh-keygen", "-L", "-f", directory / "it-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    said, heading = {}, ""
    for line in text.splitlines()[1:]:
        name, colon, value = line.strip().partition(":")
        if line.startswith(" " * 16):
            said[heading].append(line.strip())
        elif colon:
            heading = name
            said[heading] = [value.strip()] if value.strip() else []
    return said


@pytest.fixture
async def joined(world):
    """A machine of h1 that has joined: its credential, and what it got."""
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"addresses": NAMES, "principal_format": "account"})
    return await join(world)


async def test_B_04_a_host_certificate_says_what_it_should(world, joined, tmp_path):
    said = listing(tmp_path, joined[1]["host_certificates"][0])
    assert said["Type"] == ["ssh-ed25519-cert-v01@openssh.com host certificate"]
    assert said["Principals"] == ["h1", *NAMES]
    assert said["Critical Options"] == said["Extensions"] == ["(none)"]
    assert said["Key ID"][0].startswith('"t=default;h=h1;r=')
    row = await query(world, "SELECT serial, valid_before - valid_after, host FROM host_certificates")
    assert row == [(int(said["Serial"][0]), 30 * 86400 + 300, "h1")]
    assert joined[1]["names"] == ["h1", *NAMES]


async def test_a_machine_renews_the_certificates_of_its_registered_keys(world, joined, tmp_path):
    secret, answer = joined
    key = host_key(world, "hostkey-login1").public
    world.clock.move(20 * 86400)
    made = await world.good("POST", "hosts/h1/certificates", auth=secret, json={"public_keys": [key]})
    assert listing(tmp_path, made["certificates"][0])["Principals"] == ["h1", *NAMES]
    assert made["certificates"] != answer["host_certificates"]
    other = host_key(world, "not-registered").public
    refused = await world.call("POST", "hosts/h1/certificates", auth=secret, json={"public_keys": [key, other]})
    assert (refused.status, refused.code) == (403, "key_not_registered")
    assert len(await query(world, "SELECT serial FROM host_certificates")) == 2
    assert len(await events(world, action="host-certificates.issue")) == 2


async def test_a_key_that_an_admin_registered_is_certified_too(world):
    key = host_key(world, "by-admin").public
    body = {"public_keys": [key]}
    assert (await world.call("POST", "hosts/h1/certificates", auth=world.hosts["h1"], json=body)).status == 403
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"ssh_host_keys": [key + " root@h1"]})
    assert (await world.call("POST", "hosts/h1/certificates", auth=world.hosts["h1"], json=body)).status == 201
    await world.add_host("h2")  # another host of the tenant has nothing of it
    refused = await world.call("POST", "hosts/h2/certificates", auth=world.hosts["h2"], json=body)
    assert (refused.status, refused.code) == (403, "key_not_registered")
    refused = await world.call("POST", "hosts/h1/certificates", auth=world.hosts["h2"], json=body)
    assert (refused.status, refused.code) == (403, "host_mismatch")


async def test_nothing_leaves_before_it_is_durable(world, joined):
    from sqlalchemy.exc import OperationalError

    from tms_ca.store import enrolment

    secret, _ = joined
    real = enrolment.add_certificates

    async def failing(*_):
        raise OperationalError("INSERT", {}, Exception("disk full"))

    enrolment.add_certificates = failing
    body = {"public_keys": [host_key(world, "hostkey-login1").public]}
    try:
        refused = await world.call("POST", "hosts/h1/certificates", auth=secret, json=body)
    finally:
        enrolment.add_certificates = real
    assert (refused.status, refused.code) == (503, "database_unavailable")
    assert "ssh-ed25519-cert" not in refused.body.decode()
    assert len(await events(world, action="host-certificates.issue")) == 1
    assert (await world.call("POST", "hosts/h1/certificates", auth=secret, json=body)).status == 201


def _in_krl(directory, krl, certificate):
    (directory / "krl").write_bytes(krl)
    (directory / "c-cert.pub").write_text(certificate + "\n")
    command = ["ssh-keygen", "-Q", "-f", directory / "krl", directory / "c-cert.pub"]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode in {0, 1}, done
    return done.returncode == 1


WAYS = {
    "revoke the host": lambda world, _: world.good(
        "POST", "revocations", auth=world.operator, json={"host": "h1", "reason": "x"}
    ),
    "delete the host": lambda world, _: world.good("DELETE", "hosts/h1", auth=world.operator),
    "revoke the serial": lambda world, serial: world.good(
        "POST", "revocations", auth=world.operator, json={"serial": serial, "reason": "x"}
    ),
    "the machine leaves": lambda world, _: world.good("DELETE", "hosts/h1/nodes/login1", auth=world.operator),
}


@pytest.mark.parametrize("way", WAYS)
async def test_what_ends_a_host_certificate_puts_it_into_the_krl(world, joined, tmp_path, way):
    certificate = joined[1]["host_certificates"][0]
    await world.add_host("h2")
    _, other = await join(world, "h2", "login9")
    assert not _in_krl(tmp_path, (await world.call("GET", "krl")).body, certificate)
    await WAYS[way](world, listing(tmp_path, certificate)["Serial"][0])
    krl = (await world.call("GET", "krl")).body
    assert _in_krl(tmp_path, krl, certificate)
    assert not _in_krl(tmp_path, krl, other["host_certificates"][0])  # the twin: another host's stands


async def test_G_05_a_host_ca_key_is_not_retired_while_its_certificates_live(world, joined, tmp_path):
    certificate = joined[1]["host_certificates"][0]
    keys = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
    (old,) = [key["fingerprint"].replace("/", "%2F") for key in keys if key["purpose"] == "host"]
    new = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "host"})
    await world.good("POST", f"ca-keys/{new['fingerprint'].replace('/', '%2F')}/activate", auth=world.operator)
    refused = await world.call("POST", f"ca-keys/{old}/retire", auth=world.operator, json={})
    assert (refused.status, refused.code) == (409, "ca_key_in_use")
    await world.good("POST", f"ca-keys/{old}/retire", auth=world.operator, json={"force": True})
    assert _in_krl(tmp_path, (await world.call("GET", "krl")).body, certificate)
    body = {"public_keys": [host_key(world, "hostkey-login1").public]}
    renewed = await world.good("POST", "hosts/h1/certificates", auth=joined[0], json=body)
    assert listing(tmp_path, renewed["certificates"][0])["Signing CA"][0].split()[1] == new["fingerprint"]


async def test_a_key_that_two_machines_share_stays_good_while_one_of_them_stays(world, tmp_path):
    key = host_key(world, "shared").public
    _, first = await join(world, node="login1", keys=[key])
    await join(world, node="login2", keys=[key])
    certificate = first["host_certificates"][0]
    await world.good("DELETE", "hosts/h1/nodes/login1", auth=world.operator)
    assert not _in_krl(tmp_path, (await world.call("GET", "krl")).body, certificate)
    await world.good("DELETE", "hosts/h1/nodes/login2", auth=world.operator)
    assert _in_krl(tmp_path, (await world.call("GET", "krl")).body, certificate)


async def test_a_disabled_host_gets_no_certificate(world):
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"enabled": False})
    token = (await invite(world))["join_token"]
    assert (await world.call("POST", "/api/v1/join", json=join_body(world, token))).status == 401
    assert await query(world, "SELECT serial FROM host_certificates") == []


def _ssh(sshd, known_hosts, name, key, certificate):
    """Log in to `name`, which a proxy leads to `sshd`; no question can be answered."""
    done = subprocess.run(
        ["ssh", "-F", "none", "-o", f"ProxyCommand={sys.executable} {RELAY} {sshd.port}", "-o", "BatchMode=yes",
         "-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={known_hosts}",
         "-o", "GlobalKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes", "-i", key,
         "-o", f"CertificateFile={certificate}", f"{sshd.account}@{name}", "echo in"],
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.stdout == "in\n" or done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="the account alice is there for root alone")
async def test_a_real_ssh_connects_by_every_name_and_by_no_other(world, tmp_path):
    await world.good("PATCH", "hosts/h1", auth=world.operator, json={"addresses": NAMES, "principal_format": "account"})
    issued = await world.issue()
    assert issued.status == 201, issued.json
    (tmp_path / "user-cert.pub").write_text(issued.json["certificate"] + "\n")
    work = tmp_path / "sshd"
    work.mkdir()
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", work / "host_key"], check=True)
    key = " ".join((work / "host_key.pub").read_text().split()[:2])
    _, answer = await join(world, keys=[key])
    (work / "host_key-cert.pub").write_text(answer["host_certificates"][0] + "\n")
    known = tmp_path / "known_hosts"
    known.write_bytes((await world.call("GET", "known_hosts")).body)
    user_ca = (await world.call("GET", "ca/user.pub")).body.decode()
    certificate = f"HostCertificate {work / 'host_key-cert.pub'}\n"

    def try_them():
        with SandboxSshd(work, ca_keys=user_ca, extra=certificate) as sshd:
            login = world.keys / "id", tmp_path / "user-cert.pub"
            assert {name: _ssh(sshd, known, name, *login) for name in ["h1", *NAMES]} == dict.fromkeys(
                ["h1", *NAMES], True
            ), sshd.log
            for name in ("h2", "login2.h1.example.org"):
                assert "Host key verification failed" in _ssh(sshd, known, name, *login)
            # A known_hosts that trusts the CA for everything: then the certificate itself refuses the name.
            ca = known.read_text().split()[2:4]
            known.write_text(f"@cert-authority * {' '.join(ca)}\n")
            assert _ssh(sshd, known, "h1", *login) is True
            assert "is not a host in the certificate" in str(
                _ssh(sshd, known, "h2", *login)
            ) or "Host key verification failed" in str(_ssh(sshd, known, "h2", *login))

    await asyncio.to_thread(try_them)


async def test_a_credential_of_one_machine_rotates_and_the_old_one_ends(world):
    first, _ = await join(world)
    second, digest = new_credential()
    body = {"credential_sha256": digest, "node": "login1"}
    made = await world.good("POST", "hosts/h1/credential", auth=first, json=body)
    again = await world.good("POST", "hosts/h1/credential", auth=first, json=body)  # the answer got lost
    assert made == again
    assert [(await world.call("GET", "hosts/h1", auth=one)).status for one in (first, second)] == [200, 200]
    await world.good("DELETE", "hosts/h1/credential", auth=second)
    assert [(await world.call("GET", "hosts/h1", auth=one)).status for one in (first, second)] == [401, 200]
    assert (await world.call("GET", "hosts/h1", auth=world.hosts["h1"])).status == 200  # an admin's stays


async def test_a_machine_acts_in_its_own_name_alone(world):
    first, _ = await join(world, node="login1")
    second, _ = await join(world, node="login2")
    body = {"credential_sha256": new_credential()[1], "node": "login2"}
    refused = await world.call("POST", "hosts/h1/credential", auth=first, json=body)
    assert (refused.status, refused.code) == (403, "node_mismatch")
    refused = await world.call("DELETE", "hosts/h1/nodes/login2", auth=first)
    assert (refused.status, refused.code) == (403, "node_mismatch")
    assert (await world.call("GET", "hosts/h1", auth=second)).status == 200
    refused = await world.call("DELETE", "hosts/h1/credential", auth=world.hosts["h1"])
    assert (refused.status, refused.code) == (409, "credential_without_node")
    await world.good("DELETE", "hosts/h1/nodes/login1", auth=first)  # the twin: itself
    assert [(await world.call("GET", "hosts/h1", auth=one)).status for one in (first, second)] == [401, 200]


async def test_admins_secrets_go_on_beside_those_of_machines(world):
    await join(world, node="login1")
    await join(world, node="login2")
    second = await world.good("POST", "hosts/h1/secrets", auth=world.operator)
    assert (await world.call("POST", "hosts/h1/secrets", auth=world.operator)).code == "too_many_secrets"
    held = (await world.good("GET", "hosts/h1/secrets", auth=world.operator))["items"]
    assert sorted(str(one["node"]) for one in held) == ["None", "None", "login1", "login2"]
    assert (await world.call("GET", "hosts/h1", auth=second["secret"])).status == 200
    (doomed,) = [one["credential_id"] for one in held if one["node"] == "login2"]
    await world.good("DELETE", f"hosts/h1/secrets/{doomed}", auth=world.operator)


async def _change_once_signed(world, change):
    """Let `change` happen between the first signature and its commit; return the answer, and how often was signed."""
    issuer, signed = world.context.host_certificates, []
    real = issuer.sign

    async def sign(*args):
        signed.append(await real(*args))
        if len(signed) == 1:
            await change()
        return signed[-1]

    issuer.sign = sign
    try:
        body = {"public_keys": [host_key(world, "hostkey-login1").public]}
        return await world.call("POST", "hosts/h1/certificates", auth=world.hosts["h1"], json=body), len(signed)
    finally:
        issuer.sign = real


async def test_what_changes_while_a_host_certificate_is_signed_counts(world, joined, tmp_path):
    held = await query(world, "SELECT serial FROM host_certificates")
    new = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "host"})
    path = f"ca-keys/{new['fingerprint'].replace('/', '%2F')}/activate"
    made, times = await _change_once_signed(world, lambda: world.good("POST", path, auth=world.operator))
    assert times == 2
    assert listing(tmp_path, made.json["certificates"][0])["Signing CA"][0].split()[1] == new["fingerprint"]

    async def renamed():  # the twin: what a host certificate does not rest on
        await world.good("PATCH", "clients/portal", auth=world.operator, json={"display_name": "x"})

    made, times = await _change_once_signed(world, renamed)
    assert (made.status, times) == (201, 1)
    off = {"enabled": False}
    made, times = await _change_once_signed(
        world, lambda: world.good("PATCH", "hosts/h1", auth=world.operator, json=off)
    )
    assert (made.status, made.code, times) == (403, "host_disabled", 1)
    assert len(await query(world, "SELECT serial FROM host_certificates")) == len(held) + 2
