"""Serials that no certificate of ours has: a certificate may say any number of 64 bits."""

import asyncio
import base64
import struct

from tests.unit.sshkeys import packed


def says(certificate: str, serial: int) -> str:
    """Return a certificate line that says another serial."""
    kind, text, *_ = certificate.split(" ")
    blob = base64.b64decode(text)
    at = 0
    for _ in range(3):  # its kind, the nonce and the key
        at += 4 + struct.unpack_from(">I", blob, at)[0]
    changed = blob[:at] + struct.pack(">Q", serial) + blob[at + 8 :]
    return f"{kind} {base64.b64encode(changed).decode()}"


async def test_A_05_a_serial_that_is_none_of_ours_is_refused(world):
    certificate = (await world.issue()).json["certificate"].strip()
    for serial in (0, 1, 2**31, 2**53, 2**63 - 1, 2**63, 2**63 + 1, 2**64 - 1):
        assert (await world.check(certificate)).status == 200
        for _ in range(2):
            refused = await world.check(says(certificate, serial))
            assert (refused.status, refused.code) == (403, "certificate_unknown"), (serial, refused.json)
    assert (await world.check(certificate)).status == 200


async def test_A_05_whoever_asks_for_such_a_serial_disturbs_nobody(world):
    """On PostgreSQL the questions of many hosts share a round trip."""
    certificates = [(await world.issue()).json["certificate"].strip() for _ in range(10)]
    strange = says(certificates[0], 2**64 - 1)
    # No more at once than any machine has the time for.
    replies = await asyncio.gather(*(world.check(one) for one in [*certificates, strange] * 2))
    assert [one.status for one in replies] == ([200] * 10 + [403]) * 2


def test_the_helper_says_what_it_is_to_say():
    line = (
        "ssh-ed25519-cert-v01@openssh.com "
        + base64.b64encode(
            packed(b"ssh-ed25519-cert-v01@openssh.com", b"n" * 32, b"k" * 32) + struct.pack(">Q", 7) + b"rest"
        ).decode()
    )
    from tms_ca.core.certificate_reader import present_certificate_line

    assert present_certificate_line(line).serial == 7
    assert present_certificate_line(says(line, 2**64 - 1)).serial == 2**64 - 1
