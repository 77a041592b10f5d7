"""The trust bundle: `ssh-keygen -Y verify` takes it and nothing like it, and it is never older than the last change."""

import asyncio
import hashlib
import json
import subprocess

import pytest

from tests.enrol.machine import host_key
from tms_ca.app import open_context
from tms_ca.core.trust import NAMESPACE


async def trust(world, tenant="default"):
    made = await world.good("GET", "trust", tenant=tenant)
    return made["bundle"], made["signature"]


async def host_ca(world, tenant="default"):
    return (await world.call("GET", "ca/host.pub", tenant=tenant)).body.decode().strip()


def verified(directory, bundle, signature, key, namespace=NAMESPACE):
    """Tell whether ssh-keygen takes the signature."""
    (directory / "signers").write_text("".join(f"host-ca {line}\n" for line in key.splitlines()))
    (directory / "bundle.sig").write_text(signature)
    done = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", directory / "signers", "-I", "host-ca", "-n", namespace,
         "-s", directory / "bundle.sig"],
        input=bundle.encode(), capture_output=True, check=False,
    )  # fmt: skip
    return done.returncode == 0


@pytest.mark.parametrize("algorithm", ["ed25519", "ecdsa-p256", "ecdsa-p384", "ecdsa-p521", "rsa-3072"])
async def test_G_08_ssh_keygen_takes_the_bundle_and_nothing_like_it(bare_world, tmp_path, algorithm):
    world = bare_world
    body = {"tenant": "t1", "ca_algorithm": algorithm}
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json=body)
    bundle, signature = await trust(world, "t1")
    key = await host_ca(world, "t1")
    assert verified(tmp_path, bundle, signature, key)
    assert not verified(tmp_path, bundle[:-1] + " ", signature, key)
    assert not verified(tmp_path, bundle.replace('"epoch":"', '"epoch":"9'), signature, key)
    assert not verified(tmp_path, bundle, signature, key, "file")
    assert not verified(tmp_path, bundle, signature, host_key(world).public)
    assert not verified(tmp_path, bundle, signature, await host_ca(world))  # another tenant's
    assert not verified(tmp_path, bundle, (await trust(world))[1], key)  # a good signature of another text


async def test_G_08_the_bundle_says_what_the_service_publishes(world):
    await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": "user"})
    bundle, _ = await trust(world)
    said = json.loads(bundle)
    assert bundle == json.dumps(said, sort_keys=True, separators=(",", ":"))
    krl = await world.call("GET", "krl")
    assert said["krl"] == {
        "version": krl.headers["X-KRL-Version"],
        "sha256": hashlib.sha256(krl.body).hexdigest(),
        "bytes": len(krl.body),
    }
    for purpose in ("user", "host"):
        published = (await world.call("GET", f"ca/{purpose}.pub")).body.decode().splitlines()
        assert said[f"{purpose}_ca_keys"] == [" ".join(line.split()[:2]) for line in published]
    assert len(said["user_ca_keys"]) == 2
    assert (said["tenant"], said["type"]) == ("default", "tms-ca-trust/1")
    assert set(said) == {
        "epoch", "expires_at", "host_ca_keys", "issued_at", "krl", "tenant", "type", "user_ca_keys",
    }  # fmt: skip


async def test_one_signature_serves_for_seconds_while_nothing_changes(world):
    first = await trust(world)
    world.clock.move(4)
    assert await trust(world) == first
    world.clock.move(1)
    later = await trust(world)
    assert json.loads(later[0])["issued_at"] > json.loads(first[0])["issued_at"]
    for _ in range(5):  # ten at once are refused on no machine
        assert set(await asyncio.gather(*(trust(world) for _ in range(10)))) == {later}


async def test_G_08_a_revocation_that_was_answered_is_in_the_next_bundle(world):
    before = json.loads((await trust(world))[0])
    issued = (await world.issue()).json
    same = json.loads((await trust(world))[0])
    assert same == before  # the twin: issuing changes nothing that hosts must trust
    await world.good("POST", "revocations", auth=world.operator, json={"serial": issued["serial"], "reason": "x"})
    after = json.loads((await trust(world))[0])  # within the same second
    assert int(after["krl"]["version"]) > int(before["krl"]["version"])
    assert int(after["epoch"]) > int(before["epoch"])
    krl = (await world.call("GET", "krl")).body
    assert after["krl"]["sha256"] == hashlib.sha256(krl).hexdigest()


async def test_G_05_the_bundle_follows_a_rotation_of_both_kinds(world, tmp_path):
    for purpose in ("user", "host"):
        old = json.loads((await trust(world))[0])[f"{purpose}_ca_keys"]
        new = await world.good("POST", "ca-keys", auth=world.operator, json={"purpose": purpose})
        path = f"ca-keys/{new['fingerprint'].replace('/', '%2F')}"
        assert json.loads((await trust(world))[0])[f"{purpose}_ca_keys"] == [*old, new["public_key"]]
        assert verified(tmp_path, *await trust(world), (await host_ca(world)).splitlines()[0])
        await world.good("POST", f"{path}/activate", auth=world.operator, json=None)
        assert json.loads((await trust(world))[0])[f"{purpose}_ca_keys"] == [*old, new["public_key"]]
        keys = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
        (retiring,) = [key for key in keys if key["state"] == "retiring" and key["purpose"] == purpose]
        fingerprint = retiring["fingerprint"].replace("/", "%2F")
        await world.good("POST", f"ca-keys/{fingerprint}/retire", auth=world.operator, json={})
        bundle, signature = await trust(world)
        assert json.loads(bundle)[f"{purpose}_ca_keys"] == [new["public_key"]]
    # What the new host CA key signs, the old one does not verify.
    assert verified(tmp_path, bundle, signature, await host_ca(world))
    assert not verified(tmp_path, bundle, signature, old[0])


async def test_without_a_host_ca_key_there_is_no_bundle(world):
    keys = (await world.good("GET", "ca-keys", auth=world.operator))["items"]
    (key,) = [one for one in keys if one["purpose"] == "host"]
    assert (await world.call("GET", "trust")).status == 200
    body = {"ca_fingerprint": key["fingerprint"], "reason": "stolen"}
    await world.good("POST", "revocations", auth=world.operator, json=body)
    refused = await world.call("GET", "trust")
    assert (refused.status, refused.code) == (503, "ca_key_missing")


async def test_a_tenant_that_is_not_there_has_no_bundle_and_takes_no_memory(world):
    for path in ("trust", "known_hosts"):
        assert (await world.call("GET", path, tenant="nowhere")).code == "tenant_unknown"
    assert "nowhere" not in world.context.trust._memories


async def test_known_hosts_names_each_host_that_may_be_used_and_nothing_else(world):
    key = " ".join((await host_ca(world)).split()[:2])
    addresses = ["login.H2.example.org", "10.0.0.7", "10.0.0.0/8", "::1", "*.example.org", "a b", "h2"]
    await world.add_host("h2", addresses=addresses)
    await world.add_host("h3")
    lines = (await world.call("GET", "known_hosts")).body.decode().splitlines()
    assert lines == [
        f"@cert-authority h1 {key}",
        f"@cert-authority h2,login.h2.example.org,10.0.0.7,::1 {key}",
        f"@cert-authority h3 {key}",
    ]
    await world.good("PATCH", "hosts/h3", auth=world.operator, json={"enabled": False})
    await world.good("POST", "revocations", auth=world.operator, json={"host": "h2", "reason": "x"})
    assert (await world.call("GET", "known_hosts")).body.decode().splitlines() == lines  # the same for seconds
    world.clock.move(5)
    assert (await world.call("GET", "known_hosts")).body.decode().splitlines() == lines[:1]


async def test_A_06_a_revocation_by_one_process_is_in_the_next_bundle_of_another(world):
    async with open_context(world.settings, world.clock) as other:
        before = await other.trust.bundle("default")
        assert await other.trust.bundle("default") == before
        issued = (await world.issue()).json
        await world.good("POST", "revocations", auth=world.operator, json={"serial": issued["serial"], "reason": "x"})
        after = await other.trust.bundle("default")
        assert after.krl_version == before.krl_version + 1
        assert after.epoch > before.epoch
        assert json.loads(after.bundle) == json.loads((await trust(world))[0])
