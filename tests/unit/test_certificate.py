"""Certificates: what we write is what ssh-keygen, asyncssh and cryptography read; what we read is only that."""

import base64
import contextlib
import re
import secrets
import struct

import asyncssh
import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sshkeys import CA_KINDS, SUBJECT_KINDS, line, packed, private_key, public_line, sign, ssh_keygen
from tms_ca.core.certificate import (
    CertificateFields,
    CertType,
    LintError,
    assemble,
    certificate_line,
    lint,
    to_be_signed,
)
from tms_ca.core.certificate_reader import parse_certificate, parse_certificate_line
from tms_ca.core.errors import Malformed
from tms_ca.core.names import KNOWN_EXTENSIONS
from tms_ca.core.publickey import PublicKey, parse_ca_key, parse_public_key

CA = 9  # which of the keys of a kind is the CA's
COMMAND = ("force-command", "/opt/run \"a b\"; $(id) 'c' naïve ☃")
SOURCES = ("source-address", "192.0.2.0/24,2001:db8::/32")
VERIFY = ("verify-required", "")


def a_certificate(subject="ed25519", ca="ed25519", **changes):
    """One valid baseline; each test changes one thing."""
    fields = {
        "public_key": parse_public_key(public_line(subject)),
        "nonce": bytes(range(32)),
        "serial": 2**63 - 1,
        "type": CertType.USER,
        "key_id": "t=default;c=portal;u=alice;r=01JABCDEFGHJK",
        "principals": ("alice@stampede3", "alice@frontera"),
        "valid_after": 1_700_000_000,
        "valid_before": 1_700_003_600,
        "critical_options": (COMMAND, SOURCES),
        "extensions": ("permit-port-forwarding", "permit-pty"),
        "ca_key": parse_ca_key(public_line(ca, CA)),
    }
    return CertificateFields(**{**fields, **changes})


def signed(fields, ca="ed25519"):
    tbs = to_be_signed(fields)
    lint(tbs, fields)
    return assemble(tbs, sign(private_key(ca, CA), tbs))


def listing(line_, tmp_path):
    """What ssh-keygen -L says, as {heading: [values]}."""
    (tmp_path / "cert.pub").write_text(line_ + "\n")
    result = ssh_keygen("-L", "-f", tmp_path / "cert.pub")
    assert result.returncode == 0, result.stderr
    said = {}
    for text in result.stdout.splitlines()[1:]:
        heading = re.fullmatch(r" {8}(\S[^:]*): ?(.*)", text)
        if heading:
            values = said[heading[1]] = [heading[2]] if heading[2] else []
        else:
            values.append(text.strip())
    return said


@pytest.mark.parametrize("ca", CA_KINDS)
@pytest.mark.parametrize("subject", SUBJECT_KINDS)
def test_B_06_ssh_keygen_reads_every_field(subject, ca, tmp_path):
    fields = a_certificate(subject, ca)
    said = listing(certificate_line(signed(fields, ca)), tmp_path)
    assert said["Type"] == [
        f"{fields.public_key.algorithm.removesuffix('@openssh.com')}-cert-v01@openssh.com user certificate"
    ]
    assert said["Public key"][0].endswith(fields.public_key.fingerprint)
    assert fields.ca_key.fingerprint in said["Signing CA"][0]
    assert said["Signing CA"][0].endswith(
        {"rsa3072": "(using rsa-sha2-512)"}.get(ca, f"(using {fields.ca_key.algorithm})")
    )
    assert said["Key ID"] == [f'"{fields.key_id}"']
    assert said["Serial"] == ["9223372036854775807"]
    assert said["Valid"] == ["from 2023-11-14T22:13:20 to 2023-11-14T23:13:20"]
    assert said["Principals"] == list(fields.principals)
    assert said["Extensions"] == list(fields.extensions)
    # ssh-keygen 9.2 prints non-ASCII in its own way: the value itself is compared by the other readers.
    assert [option.split(" ")[0] for option in said["Critical Options"]] == ["force-command", "source-address"]
    assert said["Critical Options"][1].endswith(SOURCES[1])


def test_B_06_ssh_keygen_refuses_a_certificate_with_one_bit_changed(tmp_path):
    blob = signed(a_certificate())
    for at in (60, len(blob) // 2, len(blob) - 1):
        changed = bytearray(blob)
        changed[at] ^= 1
        (tmp_path / "cert.pub").write_text(f"ssh-ed25519-cert-v01@openssh.com {base64.b64encode(changed).decode()}\n")
        assert ssh_keygen("-L", "-f", tmp_path / "cert.pub").returncode != 0


@pytest.mark.parametrize("ca", CA_KINDS)
@pytest.mark.parametrize("subject", [kind for kind in SUBJECT_KINDS if not kind.startswith("sk-")])
def test_B_06_cryptography_reads_every_field_and_verifies(subject, ca):
    fields = a_certificate(subject, ca)
    read = serialization.load_ssh_public_identity(certificate_line(signed(fields, ca)).encode())
    read.verify_cert_signature()
    assert (read.nonce, read.serial, read.type.value) == (fields.nonce, fields.serial, fields.type)
    assert read.key_id == fields.key_id.encode()
    assert read.valid_principals == [principal.encode() for principal in fields.principals]
    assert (read.valid_after, read.valid_before) == (fields.valid_after, fields.valid_before)
    assert read.critical_options == {name.encode(): value.encode() for name, value in fields.critical_options}
    assert read.extensions == {name.encode(): b"" for name in fields.extensions}
    openssh = serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
    assert read.public_key().public_bytes(*openssh).decode() == fields.public_key.line
    assert read.signature_key().public_bytes(*openssh).decode() == fields.ca_key.line


@pytest.mark.parametrize("subject", SUBJECT_KINDS)
def test_B_06_asyncssh_reads_every_field_and_verifies(subject):
    fields = a_certificate(subject)
    read = asyncssh.import_certificate(certificate_line(signed(fields)))
    assert read.key.public_data == fields.public_key.blob
    assert read.signing_key.public_data == fields.ca_key.blob
    assert read.principals == list(fields.principals)
    assert read.options["force-command"] == COMMAND[1]
    assert [str(network) for network in read.options["source-address"]] == SOURCES[1].split(",")
    assert read.options["permit-pty"] is True
    assert (read._serial, read._key_id) == (fields.serial, fields.key_id)


@pytest.mark.parametrize("critical", [(), (COMMAND,), (SOURCES,), (VERIFY,), (COMMAND, SOURCES, VERIFY)])
@pytest.mark.parametrize("extensions", [(), ("permit-pty",), tuple(sorted(KNOWN_EXTENSIONS))])
def test_B_10_B_11_every_set_of_options_reaches_ssh_keygen(critical, extensions, tmp_path):
    said = listing(
        certificate_line(signed(a_certificate("sk-ed25519", critical_options=critical, extensions=extensions))),
        tmp_path,
    )
    assert [text.split(" ")[0] for text in said["Critical Options"]] == [name for name, _ in critical] or ["(none)"]
    assert said["Extensions"] == (list(extensions) or ["(none)"])


def test_B_04_type_is_user_or_host_as_it_was_meant(tmp_path):
    for type_, word in ((CertType.USER, "user"), (CertType.HOST, "host")):
        fields = a_certificate(type=type_, principals=("login1.example.org",), critical_options=(), extensions=())
        assert listing(certificate_line(signed(fields)), tmp_path)["Type"][0].endswith(f"{word} certificate")
    other = a_certificate(type=CertType.HOST, critical_options=(), extensions=())
    with pytest.raises(LintError, match="type"):
        lint(to_be_signed(other), a_certificate(critical_options=(), extensions=()))


@pytest.mark.parametrize("serial", [1, 2**31, 2**53 + 1, 2**63 - 1])
def test_B_05_serials_survive_exactly(serial, tmp_path):
    certificate = certificate_line(signed(a_certificate(serial=serial)))
    assert listing(certificate, tmp_path)["Serial"] == [str(serial)]
    assert parse_certificate_line(certificate).fields.serial == serial


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._@+:=-]{0,20}", fullmatch=True)
CRITICAL = st.lists(st.sampled_from([COMMAND, SOURCES, VERIFY]), unique=True).map(
    lambda options: tuple(sorted(options))
)
FIELDS = st.builds(
    a_certificate,
    st.sampled_from(SUBJECT_KINDS),
    st.sampled_from(CA_KINDS),
    nonce=st.binary(min_size=32, max_size=32),
    serial=st.integers(1, 2**63 - 1),
    key_id=st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128),
    principals=st.lists(NAMES, min_size=1, max_size=64, unique=True).map(tuple),
    valid_after=st.integers(1, 2**40),
    valid_before=st.integers(2**40 + 1, 2**63 - 1),
    critical_options=CRITICAL,
    extensions=st.sets(st.sampled_from(sorted(KNOWN_EXTENSIONS))).map(lambda names: tuple(sorted(names))),
)


@given(FIELDS)
def test_B_06_what_is_written_is_read_back_and_written_again_byte_for_byte(fields):
    tbs = to_be_signed(fields)
    lint(tbs, fields)
    signature = packed(
        *{"ssh-rsa": (b"rsa-sha2-512", b"s")}.get(fields.ca_key.algorithm, (fields.ca_key.algorithm.encode(), b"s"))
    )
    blob = assemble(tbs, signature)
    read = parse_certificate_line(certificate_line(blob) + " comment\n")
    assert read.fields == fields
    assert (read.blob, read.tbs, packed(read.signature_format.encode(), read.signature)) == (blob, tbs, signature)
    assert to_be_signed(read.fields) == tbs


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-O", "clear"),
        ("-O", "force-command=/bin/true", "-O", "source-address=10.0.0.0/8", "-O", "no-touch-required"),
    ],
)
def test_certificates_of_ssh_keygen_are_read(options, tmp_path):
    ca, key = tmp_path / "ca", tmp_path / "key"
    for path in (ca, key):
        assert ssh_keygen("-q", "-t", "ed25519", "-N", "", "-f", path).returncode == 0
    made = ssh_keygen("-q", "-s", ca, "-I", "id", "-n", "alice,bob", "-z", "42", "-V", "+1h", *options, f"{key}.pub")
    assert made.returncode == 0, made.stderr
    read = parse_certificate_line((tmp_path / "key-cert.pub").read_text())
    assert (read.fields.serial, read.fields.key_id, read.fields.principals) == (42, "id", ("alice", "bob"))
    assert read.fields.ca_key == parse_ca_key((tmp_path / "ca.pub").read_text())
    assert read.fields.public_key == parse_public_key((tmp_path / "key.pub").read_text())
    assert dict(read.fields.critical_options).get("force-command") == ("/bin/true" if len(options) > 2 else None)
    private = serialization.load_ssh_private_key(ca.read_bytes(), None)
    private.public_key().verify(read.signature, read.tbs)


def raw(**changes):
    """Write a certificate that may break every rule: each field as bytes, in order, then the signature."""
    parts = {
        "kind": packed(b"ssh-ed25519-cert-v01@openssh.com"),
        "nonce": packed(bytes(32)),
        "key": packed(b"p" * 32),
        "serial": struct.pack(">Q", 7),
        "type": struct.pack(">I", 1),
        "key_id": packed(b"id"),
        "principals": packed(packed(b"alice", b"bob")),
        "validity": struct.pack(">QQ", 1, 2),
        "critical": packed(packed(b"force-command", packed(b"/bin/true"))),
        "extensions": packed(packed(b"permit-pty", b"")),
        "reserved": packed(b""),
        "ca": packed(packed(b"ssh-ed25519", b"c" * 32)),
        "signature": packed(packed(b"ssh-ed25519", b"s" * 64)),
        "tail": b"",
    }
    assert changes.keys() <= parts.keys()
    return b"".join({**parts, **changes}.values())


REFUSED = {
    "unknown type": {"kind": packed(b"ssh-dss-cert-v01@openssh.com")},
    "a plain key": {"kind": packed(b"ssh-ed25519")},
    "type 0": {"type": struct.pack(">I", 0)},
    "type 3": {"type": struct.pack(">I", 3)},
    "key id with newline": {"key_id": packed(b"id\n")},
    "key id with escape": {"key_id": packed(b"\x1b[2J")},
    "key id empty": {"key_id": packed(b"")},
    "key id too long": {"key_id": packed(b"k" * 129)},
    "key id not ascii": {"key_id": packed(b"\xff")},
    "no principals": {"principals": packed(b"")},
    "empty principal": {"principals": packed(packed(b"alice", b""))},
    "principal with comma": {"principals": packed(packed(b"alice,root"))},
    "principal with newline": {"principals": packed(packed(b"alice\n"))},
    "principal not ascii": {"principals": packed(packed(b"\xc3\xa9"))},
    "principals cut": {"principals": packed(packed(b"alice")[:-1])},
    "unknown critical option": {"critical": packed(packed(b"zzz", packed(b"x")))},
    "critical options unsorted": {
        "critical": packed(packed(b"source-address", packed(b"10.0.0.0/8"), b"force-command", packed(b"a")))
    },
    "critical option twice": {
        "critical": packed(packed(b"force-command", packed(b"a"), b"force-command", packed(b"b")))
    },
    "critical value not wrapped": {"critical": packed(packed(b"force-command", b"/bin/true"))},
    "critical value wrapped, then more": {"critical": packed(packed(b"force-command", packed(b"a") + b"x"))},
    "critical value empty": {"critical": packed(packed(b"force-command", packed(b"")))},
    "critical value missing": {"critical": packed(packed(b"force-command", b""))},
    "critical value with newline": {"critical": packed(packed(b"force-command", packed(b"a\nb")))},
    "critical value not utf-8": {"critical": packed(packed(b"force-command", packed(b"\xff")))},
    "host bits set": {"critical": packed(packed(b"source-address", packed(b"10.0.0.1/8")))},
    "flag with a value": {"critical": packed(packed(b"verify-required", packed(b"yes")))},
    "flag with an empty value": {"critical": packed(packed(b"verify-required", packed(b"")))},
    "option name without data": {"critical": packed(packed(b"force-command"))},
    "extensions unsorted": {"extensions": packed(packed(b"permit-pty", b"", b"permit-agent-forwarding", b""))},
    "extension twice": {"extensions": packed(packed(b"permit-pty", b"", b"permit-pty", b""))},
    "extension with a value": {"extensions": packed(packed(b"permit-pty", packed(b"no")))},
    "extension with a newline": {"extensions": packed(packed(b"permit-pty\n", b""))},
    "extension not ascii": {"extensions": packed(packed(b"\xff", b""))},
    "reserved in use": {"reserved": packed(b"x")},
    "fido ca": {"ca": packed(packed(b"sk-ssh-ed25519@openssh.com", b"c" * 32, b"ssh:"))},
    "ca without a name": {"ca": packed(b"")},
    "signature of another kind": {"signature": packed(packed(b"ecdsa-sha2-nistp256", b"s"))},
    "sha-1 signature": {
        "ca": packed(packed(b"ssh-rsa", b"\1\0\1", b"n")),
        "signature": packed(packed(b"ssh-rsa", b"s")),
    },
    "signature with more": {"signature": packed(packed(b"ssh-ed25519", b"s" * 64) + b"x")},
    "signature empty": {"signature": packed(b"")},
    "no signature": {"signature": b""},
    "trailing byte": {"tail": b"x"},
    "over 8 KiB": {"nonce": packed(bytes(9000))},
}


def test_the_raw_certificate_is_accepted_when_nothing_is_changed():
    assert parse_certificate(raw()).fields.principals == ("alice", "bob")
    rsa = raw(ca=packed(packed(b"ssh-rsa", b"\1\0\1", b"n")), signature=packed(packed(b"rsa-sha2-256", b"s")))
    assert parse_certificate(rsa).signature_format == "rsa-sha2-256"
    assert parse_certificate(raw(critical=packed(packed(b"verify-required", b"")))).fields.critical_options == (VERIFY,)


@pytest.mark.parametrize("name", REFUSED)
def test_B_06_the_parser_refuses(name):
    with pytest.raises(Malformed) as refused:
        parse_certificate(raw(**REFUSED[name]))
    assert refused.value.code == "bad_certificate"
    assert refused.value.detail.isprintable()


def test_B_06_the_parser_refuses_every_cut():
    blob = raw()
    for size in range(len(blob)):
        with pytest.raises(Malformed):
            parse_certificate(blob[:size])


@pytest.mark.parametrize(
    "change",
    [
        lambda text: public_line("ed25519"),
        lambda text: "",
        lambda text: text + "\n\n",
        lambda text: text + "\r\n",
        lambda text: text + "\n" + text,
        lambda text: " " + text,
        lambda text: text.replace(" ", "  "),
        lambda text: text.replace("ssh-ed25519-cert", "ssh-rsa-cert", 1),
        lambda text: text.split(" ")[1],
        lambda text: text.split(" ")[0],
        lambda text: text[:-2],
        lambda text: text + " \x1b",
        lambda text: text + " é",
        lambda text: text + " " + "c" * 20000,
        lambda text: "restrict " + text,
    ],
)
def test_a_certificate_line_is_one_line_of_type_and_base64(change):
    text = certificate_line(raw())
    assert parse_certificate_line(text).blob == raw()
    with pytest.raises(Malformed) as refused:
        parse_certificate_line(change(text))
    assert refused.value.code == "bad_certificate"


@given(st.binary(max_size=400))
def test_arbitrary_bytes_raise_nothing_but_malformed(content):
    for blob in (content, packed(b"ssh-ed25519-cert-v01@openssh.com", bytes(32), b"p" * 32) + content):
        with contextlib.suppress(Malformed):
            parse_certificate(blob)


@given(st.text(max_size=400))
def test_arbitrary_text_raises_nothing_but_malformed(text):
    for candidate in (text, f"ssh-ed25519-cert-v01@openssh.com {text}"):
        with contextlib.suppress(Malformed):
            parse_certificate_line(candidate)


@settings(max_examples=400)
@given(st.data())
def test_B_06_one_changed_byte_is_refused_or_seen(data):
    blob = bytearray(raw())
    blob[data.draw(st.integers(0, len(blob) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(Malformed):
        read = parse_certificate(bytes(blob))
        again = to_be_signed(read.fields) + packed(packed(read.signature_format.encode(), read.signature))
        assert again == bytes(blob)


def test_assemble_needs_a_signature_and_room_for_it():
    tbs = to_be_signed(a_certificate())
    assert assemble(tbs, b"s" * (8192 - len(tbs) - 4)).endswith(b"s")
    for signature in (b"", b"s" * (8192 - len(tbs) - 3)):
        with pytest.raises(LintError):
            assemble(tbs, signature)


def test_B_06_the_largest_request_that_is_allowed_fits(tmp_path):
    n = 1 << 4095 | secrets.randbits(4000) | 1
    options = (("force-command", "x" * 4096), ("source-address", ",".join(f"10.0.{n}.0/24" for n in range(32))))
    fields = a_certificate(
        ca="rsa3072",
        public_key=parse_public_key(line("ssh-rsa", b"\1\0\1", n.to_bytes(513, "big"))),
        key_id="k" * 128,
        principals=("p" * 128,),
        critical_options=options,
        extensions=tuple(sorted(KNOWN_EXTENSIONS)),
    )
    assert listing(certificate_line(signed(fields, "rsa3072")), tmp_path)["Serial"] == [str(fields.serial)]


def test_B_02_64_principals_and_no_more(tmp_path):
    many = tuple(f"user{n}@host" for n in range(65))
    assert listing(certificate_line(signed(a_certificate(principals=many[:64]))), tmp_path)["Principals"] == list(
        many[:64]
    )
    with pytest.raises(LintError):
        lint(to_be_signed(a_certificate(principals=many)), a_certificate(principals=many))


def test_a_certificate_is_never_a_subject():
    inner = PublicKey("ssh-ed25519-cert-v01@openssh.com", signed(a_certificate()))
    fields = a_certificate(public_key=inner)
    with pytest.raises(LintError):
        lint(to_be_signed(fields), fields)
