"""The key zoo: which public keys may be certified, with cryptography, asyncssh and ssh-keygen as further opinions."""

import base64
import contextlib
import secrets

import asyncssh
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sshkeys import SUBJECT_KINDS, line, number, packed, private_key, public_line, ssh_keygen
from tms_ca.core import curves
from tms_ca.core.errors import Invalid, TmsError
from tms_ca.core.publickey import (
    PublicKey,
    decode_base64,
    encode_base64,
    fingerprint,
    parse_ca_key,
    parse_host_key,
    parse_public_key,
    unverified_public_key,
)
from tms_ca.core.sshwire import WireError

P = 2**255 - 19
D = -121665 * pow(121666, -1, P) % P
ODD = {
    bits: (1 << bits - 1) | secrets.randbits(bits - 2) | 1
    for bits in (1024, 2047, 2048, 3071, 3072, 4096, 8192, 8193, 16384, 16385)
}
E = number(65537)
POINT = private_key("ed25519").public_key().public_bytes_raw()
ED = public_line("ed25519")
ED_B64 = ED.split(" ")[1]
SK_ED, SK_P256 = "sk-ssh-ed25519@openssh.com", "sk-ecdsa-sha2-nistp256@openssh.com"


def le(y, sign=0):
    return (y | sign << 255).to_bytes(32, "little")


def on_edwards(y):
    """Euler's criterion, the slow way."""
    x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    return x2 == 0 or pow(x2, (P - 1) // 2, P) == 1


OFF_EDWARDS = next(y for y in range(2, 99) if not on_edwards(y))
ON_EDWARDS = next(y for y in range(2, 99) if on_edwards(y))
NON_CANONICAL = next(y for y in range(2, 19) if on_edwards(y)) + P


def ec_point(kind):
    key = private_key(kind).public_key()
    return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)


def ecdsa_line(kind, curve=None, point=None):
    return line(f"ecdsa-sha2-{kind}", (curve or kind).encode(), ec_point(kind) if point is None else point)


def rsa_line(bits, e=E, n=None):
    return line("ssh-rsa", e, number(n or ODD[bits]))


def bump(point):
    """Return the point with its y one larger, which is off the curve."""
    return (int.from_bytes(point, "big") + 1).to_bytes(len(point), "big")


def pem(kind, encoding, form):
    return private_key(kind).private_bytes(encoding, form, serialization.NoEncryption()).decode()


def certificate(kind):
    key = private_key(kind).public_key()
    builder = serialization.SSHCertificateBuilder().public_key(key).type(serialization.SSHCertificateType.USER)
    builder = builder.valid_after(1).valid_before(2).valid_principals([b"a"]).key_id(b"k").serial(1)
    return builder.sign(private_key("ed25519", 9)).public_bytes().decode()


def dsa_line():
    numbers = dsa.generate_private_key(1024).public_key().public_numbers()
    p = numbers.parameter_numbers
    return line("ssh-dss", number(p.p), number(p.q), number(p.g), number(numbers.y))


PEM, OPENSSH = serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH
PKCS8, TRADITIONAL = serialization.PrivateFormat.PKCS8, serialization.PrivateFormat.TraditionalOpenSSL
BAD, WEAK, TYPE, CERT, PRIVATE = (
    "bad_public_key",
    "key_too_weak",
    "key_type_not_allowed",
    "key_is_certificate",
    "key_is_private",
)

GOOD = {
    **{kind: public_line(kind) for kind in SUBJECT_KINDS},
    "comment": f"{ED} alice@laptop, 2026 #1",
    "trailing blank": f"{ED} ",
    "newline": f"{ED}\n",
    "comment and newline": f"{ED} c\n",
    "rsa 3072": rsa_line(3072),
    "rsa 4096": rsa_line(4096),
    "rsa 8192": rsa_line(8192),
    "sk ed25519, other application": public_line("sk-ed25519", application=b"ssh:portal key"),
    "sk p256, other application": public_line("sk-nistp256", application=b"ssh:x"),
    "the other sign of x": line("ssh-ed25519", le(ON_EDWARDS, 1)),
    "as long as it may be": ED + " " + "c" * (16 * 1024 - len(ED) - 1),
}

ZOO = {
    "rsa 1024": (rsa_line(1024), WEAK),
    "rsa 2048": (rsa_line(2048), WEAK),
    "rsa 3071": (rsa_line(3071), WEAK),
    "rsa zero": (line("ssh-rsa", E, b""), WEAK),
    "rsa 8193": (rsa_line(8193), TYPE),
    "rsa even": (rsa_line(3072, n=ODD[3072] + 1), BAD),
    "rsa exponent 3": (rsa_line(3072, e=b"\3"), WEAK),
    "rsa exponent 1": (rsa_line(3072, e=b"\1"), WEAK),
    "rsa exponent 0": (rsa_line(3072, e=b""), WEAK),
    "rsa exponent 65539": (rsa_line(3072, e=number(65539)), BAD),
    "rsa exponent huge": (rsa_line(3072, e=number(ODD[3072] - 2)), BAD),
    "rsa e not shortest": (rsa_line(3072, e=b"\0\1\0\1"), BAD),
    "rsa n not shortest": (line("ssh-rsa", E, b"\0" + number(ODD[3072])), BAD),
    "rsa n negative": (line("ssh-rsa", E, number(ODD[3072])[1:]), BAD),
    "rsa n and e swapped": (line("ssh-rsa", number(ODD[3072]), E), WEAK),
    "rsa without n": (line("ssh-rsa", E), BAD),
    "rsa with more": (line("ssh-rsa", E, number(ODD[3072]), b""), BAD),
    "rsa by its signature's name": (line("rsa-sha2-512", E, number(ODD[3072])), TYPE),
    "dsa": (dsa_line(), TYPE),
    "ed448": (line("ssh-ed448", bytes(57)), TYPE),
    "webauthn": (line("webauthn-sk-ecdsa-sha2-nistp256@openssh.com", b"nistp256", ec_point("nistp256"), b"ssh:"), TYPE),
    "unknown": (line("ssh-nothing", POINT), TYPE),
    "type in capitals": (ED.replace("ssh-ed25519", "SSH-ED25519", 1), TYPE),
    "no type": (ED_B64, TYPE),
    **{f"{kind} certificate": (certificate(kind), CERT) for kind in ("ed25519", "nistp256", "rsa3072")},
    "certificate under a key's name": ("ssh-ed25519 " + certificate("ed25519").split(" ")[1], CERT),
    "unknown certificate": (line("ssh-dss-cert-v01@openssh.com"), CERT),
    "openssh private": (pem("ed25519", PEM, OPENSSH), PRIVATE),
    "pkcs8 private": (pem("nistp256", PEM, PKCS8), PRIVATE),
    "pkcs1 private": (pem("rsa3072", PEM, TRADITIONAL), PRIVATE),
    "private in one line": (pem("ed25519", PEM, OPENSSH).replace("\n", " "), PRIVATE),
    "private under a key's name": ("ssh-ed25519 " + "".join(pem("ed25519", PEM, OPENSSH).split("\n")[1:-2]), PRIVATE),
    "public, then private": (ED + "\n" + pem("ed25519", PEM, OPENSSH), PRIVATE),
    "putty private": ("PuTTY-User-Key-File-3: ssh-ed25519\nEncryption: none\n", PRIVATE),
    "pem public": ("-----BEGIN PUBLIC KEY-----", BAD),
    "rfc 4716": ("---- BEGIN SSH2 PUBLIC KEY ----\nAAAA\n---- END SSH2 PUBLIC KEY ----\n", BAD),
    "two lines": (f"{ED}\n{public_line('ed25519', 1)}\n", BAD),
    "two newlines": (f"{ED}\n\n", BAD),
    "newline first": (f"\n{ED}", BAD),
    "carriage return": (f"{ED}\r\n", BAD),
    "options": (f"restrict {ED}", BAD),
    "options with blanks": (f'command="a b" {ED}', BAD),
    "known_hosts line": (f"@cert-authority * {ED}", BAD),
    "blank first": (f" {ED}", BAD),
    "two blanks": (ED.replace(" ", "  "), BAD),
    "tab": (ED.replace(" ", "\t"), BAD),
    "comment with escape": (f"{ED} \x1b[2J", BAD),
    "comment with nul": (f"{ED} \0", BAD),
    "comment not ascii": (f"{ED} é", BAD),
    "comment with line separator": (f"{ED} \u2028", BAD),
    "base64 of other letters": (ED[:-1] + "А", BAD),
    "nothing": ("", TYPE),
    "newline alone": ("\n", TYPE),
    "type alone": ("ssh-ed25519", BAD),
    "type and blank": ("ssh-ed25519 ", BAD),
    "not base64": ("ssh-ed25519 !!!!", BAD),
    "base64 with padding too much": (f"{ED}=", BAD),
    "base64 urlsafe": (line("ssh-ed25519", b"\xff" * 32).replace("/", "_"), BAD),
    "base64 cut": (ED[:-1], BAD),
    "trailing byte": ("ssh-ed25519 " + base64.b64encode(packed(b"ssh-ed25519", POINT) + b"\0").decode(), BAD),
    "trailing string": (line("ssh-ed25519", POINT, b""), BAD),
    "bytes of another type": ("ssh-ed25519 " + public_line("nistp256").split(" ")[1], BAD),
    "another type in front": ("ssh-rsa " + ED_B64, BAD),
    "sk bytes under the plain name": ("ssh-ed25519 " + public_line("sk-ed25519").split(" ")[1], BAD),
    "plain bytes under the sk name": (f"{SK_ED} {ED_B64}", BAD),
    "ed25519 31 bytes": (line("ssh-ed25519", POINT[:-1]), BAD),
    "ed25519 33 bytes": (line("ssh-ed25519", POINT + b"\0"), BAD),
    "ed25519 empty": (line("ssh-ed25519", b""), BAD),
    "ed25519 off curve": (line("ssh-ed25519", le(OFF_EDWARDS)), BAD),
    "ed25519 not canonical": (line("ssh-ed25519", le(NON_CANONICAL)), BAD),
    "ed25519 of ones": (line("ssh-ed25519", b"\xff" * 32), BAD),
    "ed25519 all zero": (line("ssh-ed25519", bytes(32)), BAD),
    "ed25519 neutral": (line("ssh-ed25519", le(1)), BAD),
    "ed25519 neutral, signed": (line("ssh-ed25519", le(1, 1)), BAD),
    "ed25519 order 2": (line("ssh-ed25519", le(P - 1)), BAD),
    "ed25519 order 4, signed": (line("ssh-ed25519", le(0, 1)), BAD),
    "ed25519 p": (line("ssh-ed25519", le(P)), BAD),
    "ed25519 p + 1": (line("ssh-ed25519", le(P + 1)), BAD),
    "p256 off curve": (ecdsa_line("nistp256", point=bump(ec_point("nistp256"))), BAD),
    "p384 off curve": (ecdsa_line("nistp384", point=bump(ec_point("nistp384"))), BAD),
    "p521 off curve": (ecdsa_line("nistp521", point=bump(ec_point("nistp521"))), BAD),
    "p256 zero": (ecdsa_line("nistp256", point=b"\4" + bytes(64)), BAD),
    "p256 infinity": (ecdsa_line("nistp256", point=b"\0"), BAD),
    "p256 empty": (ecdsa_line("nistp256", point=b""), BAD),
    "p256 compressed": (ecdsa_line("nistp256", point=b"\2" + ec_point("nistp256")[1:33]), BAD),
    "p256 hybrid": (ecdsa_line("nistp256", point=b"\6" + ec_point("nistp256")[1:]), BAD),
    "p256 x not reduced": (ecdsa_line("nistp256", point=b"\4" + b"\xff" * 64), BAD),
    "p256 with p384's name": (ecdsa_line("nistp256", curve="nistp384"), BAD),
    "p256 with p384's point": (ecdsa_line("nistp256", point=ec_point("nistp384")), BAD),
    "secp256k1": (line("ecdsa-sha2-1.3.132.0.10", b"1.3.132.0.10", ec_point("nistp256")), TYPE),
    "sk without application": (line(SK_ED, POINT), BAD),
    "sk with empty application": (public_line("sk-ed25519", application=b""), BAD),
    "sk for a web site": (public_line("sk-ed25519", application=b"https://example.org"), BAD),
    "sk application not ascii": (public_line("sk-ed25519", application=b"ssh:\xff"), BAD),
    "sk application with newline": (public_line("sk-nistp256", application=b"ssh:a\n"), BAD),
    "sk with more": (line(SK_ED, POINT, b"ssh:", b"\1"), BAD),
    "sk private parts": (line(SK_P256, b"nistp256", ec_point("nistp256"), b"ssh:", b"\1", b"handle"), BAD),
    "sk ed25519 of small order": (line(SK_ED, bytes(32), b"ssh:"), BAD),
    "sk p256 off curve": (line(SK_P256, b"nistp256", bump(ec_point("nistp256")), b"ssh:"), BAD),
    "sk p384": (line("sk-ecdsa-sha2-nistp384@openssh.com", b"nistp384", ec_point("nistp384"), b"ssh:"), TYPE),
    "16 KiB and one": (ED + " " + "c" * (16 * 1024 - len(ED)), BAD),
    "a megabyte": ("A" * 2**20, BAD),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_B_07_key_zoo_of_keys_that_may_be_certified(name):
    text = GOOD[name]
    algorithm, encoded = text.split(" ")[:2]
    key = parse_public_key(text)
    assert key == PublicKey(algorithm, base64.b64decode(encoded))
    assert key.line == f"{algorithm} {encoded.rstrip()}"
    assert parse_public_key(key.line) == key
    assert asyncssh.import_public_key(key.line).public_data == key.blob


@pytest.mark.parametrize("name", ZOO)
def test_B_07_key_zoo_of_keys_that_are_refused(name):
    text, code = ZOO[name]
    with pytest.raises(Invalid) as refused:
        parse_public_key(text)
    assert refused.value.code == code
    assert refused.value.detail.isprintable()
    assert len(refused.value.detail) < 400
    assert len(ZOO) >= 40


def test_B_07_the_zoo_is_not_refused_for_its_wrapping():
    # The helpers that make the refused keys make good ones when nothing is changed.
    assert line("ssh-ed25519", POINT) == ED
    assert ecdsa_line("nistp384") == public_line("nistp384")
    assert le(int.from_bytes(POINT, "little") % 2**255, POINT[31] >> 7) == POINT
    assert packed(b"ssh-ed25519", POINT) == base64.b64decode(ED_B64)


def test_B_07_base64_has_one_spelling():
    # 51 bytes take no padding, so the unused bits are those of a blob with another length.
    text = rsa_line(3072).split(" ")[1]
    assert text.endswith("=")
    at = len(text.rstrip("=")) - 1
    other = text[:at] + chr(ord(text[at]) + 1) + text[at + 1 :]
    assert base64.b64decode(other) == base64.b64decode(text)
    assert parse_public_key(f"ssh-rsa {text}").blob == base64.b64decode(text)
    for spelling in (other, text.rstrip("="), text[:8] + "\n" + text[8:], text + "AAAA"):
        with pytest.raises(Invalid):
            parse_public_key(f"ssh-rsa {spelling}")


def test_B_07_a_fido_key_keeps_its_application():
    for kind in ("sk-ed25519", "sk-nistp256"):
        key = parse_public_key(public_line(kind, application=b"ssh:only this"))
        assert key.algorithm.startswith("sk-")
        assert key.blob.endswith(packed(b"ssh:only this"))


@pytest.mark.parametrize("kind", SUBJECT_KINDS)
def test_fingerprint_is_that_of_ssh_keygen(kind, tmp_path):
    key = parse_public_key(public_line(kind))
    (tmp_path / "key.pub").write_text(key.line + "\n")
    listed = ssh_keygen("-lf", tmp_path / "key.pub")
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout.split(" ")[1] == key.fingerprint == fingerprint(key.blob)


def test_B_07_a_ca_key_is_plain():
    for kind in SUBJECT_KINDS:
        text = public_line(kind)
        if kind.startswith("sk-"):
            assert parse_public_key(text)
            for parse in (parse_ca_key, parse_host_key):
                with pytest.raises(Invalid) as refused:
                    parse(text)
                assert refused.value.code == "key_type_not_allowed"
        else:
            assert parse_ca_key(text) == parse_host_key(text) == parse_public_key(text)


def test_B_08_host_keys_as_they_are_today_can_be_listed():
    text = rsa_line(2048)
    assert parse_host_key(text).line == text
    for parse in (parse_public_key, parse_ca_key):
        with pytest.raises(Invalid) as refused:
            parse(text)
        assert refused.value.code == "key_too_weak"
    for bits in (1024, 2047, 16385):
        with pytest.raises(Invalid):
            parse_host_key(rsa_line(bits))
    assert parse_host_key(rsa_line(16384))


@settings(max_examples=300)
@given(st.integers(0, 2**255 - 1), st.integers(0, 1))
def test_B_07_ed25519_points_are_judged_as_by_eulers_criterion(y, sign):
    small = {0, 1, P - 1, curves._Y8, P - curves._Y8}
    assert (curves.ed25519_fault(le(y, sign)) is None) == (y < P and y not in small and on_edwards(y))


def test_B_07_ed25519_keys_that_libraries_make_are_accepted():
    for _ in range(200):
        assert curves.ed25519_fault(ed25519.Ed25519PrivateKey.generate().public_key().public_bytes_raw()) is None


def double(x, y):
    k = D * x * x * y * y % P
    return 2 * x * y * pow(1 + k, -1, P) % P, (y * y + x * x) * pow(1 - k, -1, P) % P


def test_B_07_small_order_points_are_exactly_those_whose_eightfold_is_neutral():
    for y in curves._SMALL_ORDER:
        x2 = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
        x = pow(x2, (P + 3) // 8, P)
        x = x if x * x % P == x2 else x * pow(2, (P - 1) // 4, P) % P
        assert x * x % P == x2
        point = (x, y)
        for _ in range(3):
            point = double(*point)
        assert point == (0, 1)
    assert len(curves._SMALL_ORDER) == 5  # with both signs of x: the 8 points of the torsion group


@pytest.mark.parametrize("curve", [curves.NISTP256, curves.NISTP384, curves.NISTP521])
def test_B_07_nist_points_are_judged_as_by_cryptography(curve):
    name = curve.name.decode()
    library = {"nistp256": ec.SECP256R1(), "nistp384": ec.SECP384R1(), "nistp521": ec.SECP521R1()}[name]
    for _ in range(20):
        point = (
            ec.generate_private_key(library)
            .public_key()
            .public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        )
        assert curve.fault(point) is None
        assert curve.fault(bump(point)) is not None
        flipped = bytes([4, *(byte ^ (at == 7) for at, byte in enumerate(point[1:]))])
        with pytest.raises(ValueError, match=r"(?i)point|curve|key"):
            ec.EllipticCurvePublicKey.from_encoded_point(library, flipped)
        assert curve.fault(flipped) is not None


def test_B_07_a_coordinate_has_one_spelling():
    curve = curves.NISTP256
    x = next(x for x in range(2, 99) if pow(x**3 - 3 * x + curve.b, (curve.p - 1) // 2, curve.p) == 1)
    y = pow(x**3 - 3 * x + curve.b, (curve.p + 1) // 4, curve.p)
    assert curve.fault(b"\4" + x.to_bytes(32, "big") + y.to_bytes(32, "big")) is None
    assert curve.fault(b"\4" + (x + curve.p).to_bytes(32, "big") + y.to_bytes(32, "big")) is not None


@given(st.text(max_size=200))
def test_arbitrary_text_raises_nothing_but_invalid(text):
    for parse in (parse_public_key, parse_ca_key, parse_host_key):
        with contextlib.suppress(Invalid):
            parse(text)


@given(st.sampled_from(SUBJECT_KINDS), st.binary(max_size=200))
def test_arbitrary_bytes_under_a_good_name_raise_nothing_but_invalid(kind, content):
    algorithm = public_line(kind).split(" ")[0]
    for blob in (content, packed(algorithm.encode()) + content):
        with contextlib.suppress(Invalid):
            parse_public_key(f"{algorithm} {base64.b64encode(blob).decode()}")


@settings(max_examples=300)
@given(st.sampled_from(SUBJECT_KINDS), st.data())
def test_B_07_a_key_with_one_byte_changed_is_refused_or_is_kept_as_it_came(kind, data):
    algorithm, encoded = public_line(kind).split(" ")
    blob = bytearray(base64.b64decode(encoded))
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    text = f"{algorithm} {base64.b64encode(blob).decode()}"
    with contextlib.suppress(TmsError):
        assert parse_public_key(text).line == text


@given(st.binary(max_size=200))
def test_base64_round_trip(content):
    assert decode_base64(encode_base64(content)) == content
    assert encode_base64(content) == base64.b64encode(content).decode()


@given(st.binary(max_size=40))
def test_an_unverified_key_keeps_its_bytes(content):
    key = unverified_public_key(packed(b"ssh-any") + content)
    assert (key.algorithm, key.blob) == ("ssh-any", packed(b"ssh-any") + content)
    for blob in (b"", packed(b""), packed(b"a\nb"), packed(b"\xff"), packed(b"ssh-any")[:-1]):
        with pytest.raises(WireError):
            unverified_public_key(blob)


def test_keys_are_values():
    key, same, other = (parse_public_key(public_line("ed25519", which)) for which in (0, 0, 1))
    assert {key: 1}[same] == 1
    assert key == same != other
