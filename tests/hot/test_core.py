"""Base64 with one spelling for each blob; certificates of which only the serial is read."""

import base64
import binascii
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.sshkeys import CA_KINDS, SUBJECT_KINDS
from tests.unit.test_certificate import a_certificate, signed
from tms_ca.core.certificate import certificate_line
from tms_ca.core.certificate_reader import parse_certificate_line, present_certificate_line
from tms_ca.core.errors import Malformed
from tms_ca.core.publickey import decode_base64

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def strictly(text: str) -> bytes | None:
    """What decode_base64 promises, in the longest way."""
    try:
        blob = binascii.a2b_base64(text, strict_mode=True)
    except ValueError:
        return None
    return blob if binascii.b2a_base64(blob, newline=False).decode() == text else None


def test_every_last_quantum_is_read_as_it_would_be_written():
    wrong = 0
    for begin in ("", "AAAA", "Zz9/"):
        for first in LETTERS + "=":
            for second in LETTERS + "=":
                for end in ("==", "=", "", "A==", "A=", "B=", "Q===", "===", "AA", "A", "\n", " "):
                    text = begin + first + second + end
                    assert decode_base64(text) == strictly(text), text
                    wrong += strictly(text) is None
    assert wrong > 10_000
    for third in LETTERS:
        text = f"AAA{third}"
        assert decode_base64(text) == strictly(text) == base64.b64decode(text)
        assert decode_base64(f"AA{third}=") == strictly(f"AA{third}=")


@settings(max_examples=600, deadline=None)
@given(st.text(LETTERS + "=\n -_.\u0660é", max_size=20))
@example("")
@example("====")
@example("AA==AA==")
@example("AAA=\n")
def test_any_text_is_read_as_it_would_be_written(text):
    assert decode_base64(text) == strictly(text)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.data())
def test_a_blob_has_one_spelling(blob, data):
    text = base64.b64encode(blob).decode()
    assert decode_base64(text) == blob
    if text:
        place = data.draw(st.integers(0, len(text) - 1))
        other = text[:place] + data.draw(st.sampled_from(LETTERS + "=\n")) + text[place + 1 :]
        assert decode_base64(other) == strictly(other)
        assert other == text or decode_base64(other) != blob


def refusal(read, line: str) -> str | None:
    try:
        read(line)
    except Malformed as error:
        return f"{error.code} {error.detail}"
    return None


@pytest.mark.parametrize("subject", SUBJECT_KINDS)
@pytest.mark.parametrize("ca", CA_KINDS)
def test_the_serial_is_the_one_that_the_whole_reader_finds(subject, ca):
    for serial in (1, 2**31, 2**63 - 1):
        text = certificate_line(signed(a_certificate(subject, ca, serial=serial), ca))
        for line in (text, f"{text}\n", f"{text} a comment"):
            presented, whole = present_certificate_line(line), parse_certificate_line(line)
            assert presented.serial == whole.fields.serial == serial
            assert presented.blob == whole.blob
        for line in (f" {text}", f"{text}\n\n", text.replace(" ", "  "), text[:-1], text.replace("-cert", "-cart"), ""):
            assert refusal(present_certificate_line, line) == refusal(parse_certificate_line, line) is not None


@pytest.mark.parametrize("subject", ["ed25519", "nistp256", "sk-ed25519", "rsa3072"])
def test_whoever_refuses_refuses_for_the_same_reason(subject):
    """What the short reader takes and the whole one refuses is never one of ours: services.logins reads it again."""
    good = signed(a_certificate(subject))
    kind = certificate_line(good).partition(" ")[0]
    dice = Random(subject)
    both, later = 0, 0
    for number in range(600):
        blob = bytearray(good)
        match number % 4:
            case 0:
                blob[dice.randrange(len(blob))] ^= 1 << dice.randrange(8)
            case 1:
                del blob[dice.randrange(len(blob)) :]
            case 2:
                blob[dice.randrange(120)] = dice.choice([0, 255, 127])
            case 3:
                at = dice.randrange(len(blob))
                blob[at:at] = bytes(dice.randrange(1, 9))
        line = f"{kind} {base64.b64encode(blob).decode()}"
        short, whole = refusal(present_certificate_line, line), refusal(parse_certificate_line, line)
        if short is not None:
            assert short == whole, line
            both += 1
        elif whole is None:
            assert present_certificate_line(line).serial == parse_certificate_line(line).fields.serial
        else:
            later += 1
    assert both > 50
    assert later > 50
