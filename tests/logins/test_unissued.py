"""A certificate that a CA key signed and nobody here issued is an alarm; one that it did not sign is only a refusal."""

import base64
import io
import json
import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.logins.telling import certificate_of, second
from tests.world import Key, ssh_keygen
from tms_ca.core.certificate import CertificateFields, CertType, assemble, certificate_line, to_be_signed
from tms_ca.core.model import KeyPurpose
from tms_ca.core.publickey import parse_public_key
from tms_ca.core.signed_certificate import signed_certificate
from tms_ca.observe import Log
from tms_ca.signing import CA_ALGORITHMS, SoftwareSigner, verifies


async def stolen(world, purpose: KeyPurpose = KeyPurpose.USER):
    """Return the signer of the tenant's active CA key, as a thief has it."""
    (key,) = await world.context.cakeys.trusted("default", purpose)
    return await world.context.readiness._ring.signer("default", key.fingerprint)


async def forge(world, signer, **more) -> str:
    """Return a certificate that nobody issued."""
    values = {
        "public_key": parse_public_key(world.issue_body()["public_key"]), "nonce": secrets.token_bytes(32),
        "serial": 4711, "type": CertType.USER, "key_id": "mine", "principals": ("alice@h1", "root@h1"),
        "valid_after": 0, "valid_before": world.clock.now() + 3600, "critical_options": (), "extensions": (),
        "ca_key": signer.public_key, **more,
    }  # fmt: skip
    tbs = to_be_signed(CertificateFields(**values))
    return certificate_line(assemble(tbs, await signer.sign(tbs)))


async def alarms(world) -> list[dict]:
    return (await world.good("GET", "audit-events?action=certificates.unissued", auth=world.operator))["items"]


def counted(world) -> int:
    return world.context.metrics.unissued.count


async def test_a_certificate_of_a_stolen_ca_key_is_an_alarm(world):
    forged = await forge(world, await stolen(world))
    reply = await world.check(forged)
    assert (reply.status, reply.code) == (403, "certificate_unknown")
    assert "alarm" not in reply.json
    (event,) = await alarms(world)
    assert (event["target"], event["outcome"], event["actor"]) == ("serial:4711", "certificate_unknown", "host:h1")
    assert json.loads(event["detail"])["key_id"] == "mine"
    assert counted(world) == 1


async def test_the_alarm_is_an_error_in_the_log_and_no_other_refusal_is(world, tmp_path):
    written = io.TextIOWrapper(io.BytesIO())
    log = Log(written)
    async with second(tmp_path / "other", world, log) as other:
        await other.check(await forge(world, SoftwareSigner.generate("ed25519")))
        await other.check(await forge(world, await stolen(world)))
        log.flush()
    refused, alarm = (json.loads(line) for line in written.buffer.getvalue().splitlines() if b"check_login" in line)
    assert (refused["level"], refused["code"], "alarm" in refused) == ("info", "certificate_unknown", False)
    assert (alarm["level"], alarm["code"]) == ("error", "certificate_unknown")
    assert "never issued" in alarm["alarm"]


async def test_the_same_serial_over_other_contents_is_an_alarm(world):
    issued = (await world.issue()).json
    forged = await forge(world, await stolen(world), serial=int(issued["serial"]))
    assert (await world.check(forged)).code == "certificate_altered"
    assert [event["outcome"] for event in await alarms(world)] == ["certificate_altered"]


async def test_what_this_service_would_never_write_is_an_alarm_too(world):
    """A thief writes what they like: here an extension with a value, which no reader of ours takes."""
    signer = await stolen(world)
    odd = b"\x00\x00\x00\x10login@github.com\x00\x00\x00\x07\x00\x00\x00\x03bob"
    tbs = base64.b64decode((await forge(world, signer)).split()[1])
    parts = signed_certificate(tbs)
    body = parts.signed
    ca = len(parts.ca_key).to_bytes(4, "big") + parts.ca_key
    assert body.endswith(b"\x00\x00\x00\x00\x00\x00\x00\x00" + ca)  # no extensions, nothing reserved
    body = body[: -len(ca) - 8] + len(odd).to_bytes(4, "big") + odd + b"\x00\x00\x00\x00" + ca
    forged = certificate_line(assemble(body, await signer.sign(body)))
    assert (await world.check(forged)).code == "certificate_unknown"
    assert len(await alarms(world)) == 1


@pytest.mark.parametrize("signer", [
    lambda: SoftwareSigner.generate("ed25519"), lambda: SoftwareSigner(ec.generate_private_key(ec.SECP256R1())),
    lambda: SoftwareSigner(rsa.generate_private_key(65537, 3072)),
], ids=["ed25519", "ecdsa", "rsa"])  # fmt: skip
async def test_a_certificate_of_anybody_else_is_only_refused(world, signer):
    assert (await world.check(await forge(world, signer()))).code == "certificate_unknown"
    assert await alarms(world) == []
    assert counted(world) == 0


async def test_a_signature_that_does_not_hold_is_only_refused(world):
    kind, body = (await forge(world, await stolen(world))).split()[:2]
    blob = bytearray(base64.b64decode(body))
    blob[-1] ^= 1
    assert (await world.check(f"{kind} {base64.b64encode(blob).decode()}")).code == "certificate_unknown"
    issued = await certificate_of(world)
    kind, body = issued.split()[:2]
    blob = bytearray(base64.b64decode(body))
    blob[60] ^= 1  # within the nonce
    assert (await world.check(f"{kind} {base64.b64encode(blob).decode()}")).code == "certificate_altered"
    assert await alarms(world) == []


async def test_a_certificate_that_has_ended_may_have_been_deleted(world):
    signer = await stolen(world)
    assert (await world.check(await forge(world, signer, valid_before=world.clock.now()))).status == 403
    assert await alarms(world) == []
    assert (await world.check(await forge(world, signer, valid_before=world.clock.now() + 1))).status == 403
    assert len(await alarms(world)) == 1


async def test_a_host_certificate_is_no_alarm(world):
    signer = await stolen(world, KeyPurpose.HOST)
    assert (await world.check(await forge(world, signer, type=CertType.HOST))).status == 403
    assert await alarms(world) == []


async def test_another_tenants_ca_key_is_nobodys_here(world):
    body = {"tenant": "physics"}
    await world.good("POST", "/api/v1/tenants", auth=world.operator, json=body)
    (key,) = await world.context.cakeys.trusted("physics", KeyPurpose.USER)
    signer = await world.context.readiness._ring.signer("physics", key.fingerprint)
    assert (await world.check(await forge(world, signer))).status == 403
    assert await alarms(world) == []


async def test_what_is_no_certificate_at_all_is_said_to_be_none(world):
    reply = await world.check("ssh-ed25519-cert-v01@openssh.com AAAA")
    assert (reply.status, reply.code) == (400, "bad_certificate")
    assert await alarms(world) == []


async def test_what_was_issued_is_no_alarm(world, tmp_path):
    issued = await certificate_of(world)
    assert (await world.check(issued)).status == 200
    async with second(tmp_path / "other", world) as other:
        assert (await other.check(issued)).status == 200
    assert await alarms(world) == []


@pytest.mark.parametrize("algorithm", CA_ALGORITHMS)
async def test_each_kind_of_ca_key_verifies_what_it_signed_and_nothing_else(algorithm, tmp_path):
    signer = SoftwareSigner.generate(algorithm)
    ssh_keygen(tmp_path, "id")
    fields = CertificateFields(
        parse_public_key(Key(tmp_path / "id").public), bytes(32), 1, CertType.USER, "k", ("a",), 0, 1, (), (),
        signer.public_key,
    )  # fmt: skip
    tbs = to_be_signed(fields)
    found = signed_certificate(assemble(tbs, await signer.sign(tbs)))
    line = signer.public_key.line
    assert found.signed == tbs
    assert verifies(line, found.signature_format, found.signature, found.signed)
    assert not verifies(line, found.signature_format, found.signature, found.signed + b"x")
    assert not verifies(line, "ssh-rsa", found.signature, found.signed)
    assert not verifies(line, found.signature_format, found.signature[:-1], found.signed)
    assert not verifies(
        SoftwareSigner.generate(algorithm).public_key.line, found.signature_format, found.signature, tbs
    )
