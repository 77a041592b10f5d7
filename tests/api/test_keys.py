"""B-07 over the API: a zoo of public keys that are not certified, and the kinds that are."""

import subprocess

import pytest

from tests.api.certs import read
from tests.api.stores import query
from tests.unit.sshkeys import line, public_line
from tests.unit.test_publickey import GOOD, ZOO
from tests.world import ssh_keygen


def made_by_ssh_keygen(directory):
    """Keys that people have, and what they paste instead of the .pub file."""
    ed = ssh_keygen(directory, "zoo-ed")
    ca = ssh_keygen(directory, "zoo-ca")
    subprocess.run(["ssh-keygen", "-q", "-s", ca.path, "-I", "x", "-n", "alice", f"{ed.path}.pub"], check=True)
    return {
        "rsa 1024 of ssh-keygen": (ssh_keygen(directory, "zoo-1024", "-t", "rsa", "-b", "1024").public, "key_too_weak"),
        "rsa 2048 of ssh-keygen": (ssh_keygen(directory, "zoo-2048", "-t", "rsa", "-b", "2048").public, "key_too_weak"),
        "the private file": (ed.path.read_text(), "key_is_private"),
        "a certificate file": (ed.path.with_name("zoo-ed-cert.pub").read_text(), "key_is_certificate"),
        "authorized_keys": (f"{ed.public}\n{ca.public}\n", "bad_public_key"),
        "with options": (f"no-pty {ed.public}", "bad_public_key"),
        "20 KiB": (ed.public + " " + "c" * 20_480, "invalid_request"),
        "the fingerprint": ("SHA256:" + "A" * 43, "key_type_not_allowed"),
    }


async def test_B_07_nothing_of_the_zoo_is_signed(world):
    # What is over 64 KiB is refused unread: test_bodies.py.
    zoo = {name: one for name, one in {**ZOO, **made_by_ssh_keygen(world.keys)}.items() if len(one[0]) < 60_000}
    wrong = []
    for name, (key, code) in zoo.items():
        refused = await world.issue(public_key=key)
        # Nothing, and over 16 KiB, is refused by the shape of the request.
        expected = {code} | ({"invalid_request"} if len(key) > 16384 or not key else set())
        if refused.status != 400 or refused.code not in expected:
            wrong.append((name, code, refused.status, refused.code))
    print(f"{len(zoo)} keys, {len(wrong)} wrong")
    assert not wrong
    assert len(zoo) >= 100
    assert await query(world, "SELECT count(*) FROM certificates") == [(0,)]
    assert (await world.issue()).status == 201


async def test_B_07_the_good_ones_are_certified_and_ssh_keygen_reads_them(world, tmp_path):
    good = {
        **{name: key for name, key in GOOD.items() if len(key) <= 16384},
        "rsa of ssh-keygen": ssh_keygen(tmp_path, "rsa", "-t", "rsa", "-b", "3072").public,
        "ecdsa of ssh-keygen": ssh_keygen(tmp_path, "ec", "-t", "ecdsa", "-b", "521").public,
    }
    for name, key in good.items():
        issued = await world.issue(public_key=key)
        assert issued.status == 201, (name, issued.json)
        seen = read(tmp_path, issued.json["certificate"])
        assert seen.public_key == issued.json["public_key_fingerprint"], name
        algorithm, word, _ = key.split(" ", 2) if key.count(" ") > 1 else (*key.split(" "), "")
        kind, comment = algorithm.removesuffix("@openssh.com"), issued.json["certificate"].split(" ")
        assert comment[0] == f"{kind}-cert-v01@openssh.com", name
        assert word
        assert (await world.check(issued.json["certificate"])).status == 200, name


@pytest.mark.parametrize("kind", ["sk-ed25519", "sk-nistp256"])
async def test_B_07_a_security_key_stays_one(world, tmp_path, kind):
    key = public_line(kind, application=b"ssh:portal")
    issued = (await world.issue(public_key=key)).json
    assert issued["certificate"].startswith(key.split(" ")[0].replace("@openssh.com", "-cert-v01@openssh.com"))
    (tmp_path / "key.pub").write_text(key)
    listed = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    )
    assert (
        listed.stdout.split(" ")[1]
        == issued["public_key_fingerprint"]
        == read(tmp_path, issued["certificate"]).public_key
    )


async def test_B_08_no_key_of_the_trust_itself_is_ever_certified(world):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    for tenant in ("default", "other"):
        made = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "host"}, tenant=tenant)
        for key in (await world.good("GET", "ca-keys", auth=world.operator, tenant=tenant))["items"]:
            refused = await world.issue(public_key=key["public_key"])
            assert (refused.status, refused.code) == (403, "key_is_ca_key"), (tenant, key["purpose"])
            refused = await world.issue(public_key=f"{key['public_key']} my laptop")
            assert (refused.status, refused.code) == (403, "key_is_ca_key")
        retired = f"ca-keys/{made['fingerprint'].replace('/', '%2F')}/retire"
        await world.good("POST", retired, auth=world.operator, json={}, tenant=tenant)
        assert (await world.issue(public_key=made["public_key"])).code == "key_is_ca_key"


async def test_B_08_a_hosts_key_is_never_certified_in_its_tenant_even_when_the_host_has_gone(world):
    key = public_line("nistp256", 7)
    body = {"host": "h3", "ssh_host_keys": [key]}
    await world.good("POST", "hosts", auth=world.operator, json=body)
    assert (await world.issue(public_key=key)).code == "key_is_host_key"
    await world.good("DELETE", "hosts/h3", auth=world.operator)
    assert (await world.issue(public_key=key)).code == "key_is_host_key"
    assert (await world.issue(public_key=public_line("nistp256", 8))).status == 201


async def test_no_tenant_bars_a_key_in_another(world):
    """Whoever knows a person's public key could otherwise lock that person out everywhere."""
    key = public_line("nistp256", 7)
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    body = {"host": "h3", "ssh_host_keys": [key]}
    await world.good("POST", "hosts", auth=world.operator, json=body, tenant="other")
    await world.good("PATCH", "hosts/h3", auth=world.operator, json={"ssh_host_keys": [key]}, tenant="other")
    invited = await world.good("POST", "hosts/h3/join-tokens", auth=world.operator, json={}, tenant="other")
    joining = {"join_token": invited["join_token"], "credential_sha256": "ab" * 32, "node": "n", "ssh_host_keys": [key]}
    await world.good("POST", "/api/v1/join", json=joining)
    assert (await world.issue(public_key=key)).status == 201


async def test_B_07_a_host_may_not_register_what_is_no_host_key(world):
    for bad in ("", "x", line("ssh-ed25519", bytes(32)), ZOO["ed25519 certificate"][0], "a" * 20_000):
        refused = await world.call("POST", "hosts", auth=world.operator, json={"host": "h3", "ssh_host_keys": [bad]})
        assert (refused.status, refused.code) == (400, "invalid_request")
        assert list(refused.json["fields"]) == ["ssh_host_keys.0"]
