"""CA keys: next -> active -> retiring -> retired, and a login check that goes by it."""

import subprocess

import pytest


def path(fingerprint, verb=""):
    return f"ca-keys/{fingerprint.replace('/', '%2F')}{verb}"


async def make(world, purpose="user", **more):
    return await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": purpose, **more})


async def act(world, verb, fingerprint, **body):
    return await world.call("POST", path(fingerprint, f"/{verb}"), auth=world.operator, json=body or None)


async def states(world, purpose="user"):
    keys = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
    return {key["fingerprint"]: key["state"] for key in keys if key["purpose"] == purpose}


async def published(world, purpose="user"):
    return (await world.call("GET", f"ca/{purpose}.pub")).body.decode().splitlines()


async def test_the_whole_life_of_a_rotation(world):
    old = (await world.issue()).json
    (first,) = await states(world)
    assert old["ca_fingerprint"] == first
    second = await make(world)
    assert (second["state"], second["algorithm"]) == ("next", "ssh-ed25519")
    lines = await published(world)
    assert len(lines) == 2
    assert any(line.startswith(second["public_key"]) for line in lines)
    assert (await world.issue()).json["ca_fingerprint"] == first

    assert (await act(world, "activate", second["fingerprint"])).json["state"] == "active"
    assert await states(world) == {first: "retiring", second["fingerprint"]: "active"}
    new = (await world.issue()).json
    assert new["ca_fingerprint"] == second["fingerprint"]
    assert len(await published(world)) == 2
    for certificate in (old, new):
        assert (await world.check(certificate["certificate"])).status == 200

    refused = await act(world, "retire", first, force=False)
    assert (refused.status, refused.code) == (409, "ca_key_in_use")
    assert (await act(world, "retire", first, force=True)).json["state"] == "retired"
    assert (await world.check(old["certificate"])).code == "certificate_revoked"
    assert (await world.check(new["certificate"])).status == 200
    (line,) = await published(world)
    assert line.startswith(second["public_key"])


async def test_a_key_retires_by_itself_once_its_certificates_have_ended(world):
    await world.issue(ttl_seconds=600)
    (first,) = await states(world)
    second = await make(world)
    await act(world, "activate", second["fingerprint"])
    assert (await act(world, "retire", first, force=False)).status == 409
    world.clock.move(600)
    assert (await act(world, "retire", first, force=False)).status == 200


async def test_states_only_go_forward(world):
    (active,) = await states(world)
    nxt = (await make(world))["fingerprint"]
    for verb, fingerprint in (("activate", active), ("retire", active)):
        refused = await act(world, verb, fingerprint, **({"force": True} if verb == "retire" else {}))
        assert (refused.status, refused.code) == (409, "ca_key_state"), verb
    assert (await act(world, "retire", nxt, force=False)).json["state"] == "retired"
    for verb in ("activate", "retire"):
        assert (await act(world, verb, nxt, **({"force": True} if verb == "retire" else {}))).code == "ca_key_state"
    for verb in ("activate", "retire"):
        unknown = await act(world, verb, "SHA256:" + "A" * 43, **({"force": True} if verb == "retire" else {}))
        assert (unknown.status, unknown.code) == (404, "ca_key_unknown")


@pytest.mark.parametrize("purpose", ["user", "host"])
async def test_one_key_of_each_purpose_signs(world, purpose):
    other = "host" if purpose == "user" else "user"
    before = await states(world, other)
    for _ in range(3):
        made = await make(world, purpose)
        await act(world, "activate", made["fingerprint"])
        assert list((await states(world, purpose)).values()).count("active") == 1
    assert await states(world, other) == before
    assert len(await published(world, purpose)) == 4


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-3072"])
async def test_every_algorithm_signs_what_ssh_keygen_reads(world, tmp_path, algorithm):
    made = await make(world, algorithm=algorithm)
    await act(world, "activate", made["fingerprint"])
    issued = (await world.issue()).json
    (tmp_path / "id-cert.pub").write_text(issued["certificate"])
    seen = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "id-cert.pub"], capture_output=True, text=True, check=True
    )
    assert f"Signing CA: {algorithm.split('-')[0].upper()} {made['fingerprint']}" in seen.stdout
    assert "ssh-rsa)" not in seen.stdout  # never SHA-1
    (tmp_path / "ca.pub").write_text(made["public_key"])
    listed = subprocess.run(["ssh-keygen", "-l", "-f", tmp_path / "ca.pub"], capture_output=True, text=True, check=True)
    assert listed.stdout.split(" ")[1] == made["fingerprint"]
    assert (await world.check(issued["certificate"])).status == 200


async def test_a_key_is_read_by_its_fingerprint_and_never_with_its_private_half(world):
    made = await make(world)
    found = await world.call("GET", path(made["fingerprint"]), auth=world.operator)
    assert found.json == made
    assert not any("private" in name or "sealed" in name for name in made)
    assert b"PRIVATE" not in found.body


async def test_another_tenants_keys_are_neither_seen_nor_touched(world):
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json={"tenant": "other"})
    (mine,) = await states(world)
    for verb in ("", "/activate"):
        method = "POST" if verb else "GET"
        reply = await world.call(method, path(mine, verb), auth=world.operator, tenant="other")
        assert (reply.status, reply.code) == (404, "ca_key_unknown")


async def test_a_revoked_key_is_out_at_once_and_another_takes_over(world):
    issued = (await world.issue()).json
    body = {"ca_fingerprint": issued["ca_fingerprint"], "reason": "the disk was stolen"}
    await world.good("POST", "revocations", auth=world.operator, json=body)
    assert await published(world) == []
    assert (await world.call("GET", "/readyz")).status == 503
    assert (await world.issue()).code == "ca_key_missing"
    made = await make(world)
    await act(world, "activate", made["fingerprint"])
    assert (await world.call("GET", "/readyz")).status == 200
    assert (await world.check((await world.issue()).json["certificate"])).status == 200
    assert (await world.check(issued["certificate"])).status == 403
