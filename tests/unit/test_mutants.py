"""The lint against a builder that is wrong: its source is changed in one place at a time, and run."""

import base64
import contextlib
import inspect
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sshkeys import SUBJECT_KINDS, line, number, packed, public_line
from tests.unit.test_certificate import CA, COMMAND, SOURCES, VERIFY, a_certificate
from tests.unit.test_names import HOSTILE_PRINCIPALS
from tms_ca.core import certificate, certificate_lint, sshwire
from tms_ca.core.certificate import CertType, LintError, lint, to_be_signed
from tms_ca.core.publickey import PublicKey, parse_public_key, unverified_public_key

FIELDS = a_certificate(critical_options=(COMMAND, SOURCES, VERIFY))

# What stands once in the builder, and what a slip would make of it.
MUTANTS = {
    "nonce left out": ("        string(fields.nonce),\n", ""),
    "nonce empty": ("string(fields.nonce)", 'string(b"")'),
    "nonce cut": ("string(fields.nonce)", "string(fields.nonce[:16])"),
    "nonce constant": ("string(fields.nonce)", "string(bytes(32))"),
    "key is the CA's": ("key = fields.public_key", "key = fields.ca_key"),
    "key with its name": ("key.blob[4 + len(key.algorithm) :]", "key.blob"),
    "key cut": ("key.blob[4 + len(key.algorithm) :]", "key.blob[4 + len(key.algorithm) : -1]"),
    "type of another key": ("_certificate_type(key.algorithm)", '_certificate_type("ssh-rsa")'),
    "plain key's name": ("_certificate_type(key.algorithm)", "key.algorithm"),
    "serial off by one": ("uint64(fields.serial)", "uint64(fields.serial - 1)"),
    "serial zero": ("uint64(fields.serial)", "uint64(0)"),
    "serial cut to 32 bits": ("uint64(fields.serial)", "uint64(fields.serial & 0xFFFFFFFF)"),
    "host for user": ("uint32(fields.type)", "uint32(2)"),
    "type zero": ("uint32(fields.type)", "uint32(0)"),
    "key id in capitals": ("fields.key_id.encode()", "fields.key_id.upper().encode()"),
    "key id empty": ("fields.key_id.encode()", 'b""'),
    "key id with a newline": ("fields.key_id.encode()", 'fields.key_id.encode() + b"\\n"'),
    "principals empty": ("for principal in names", "for principal in ()"),
    "principals without the last": ("for principal in names", "for principal in names[:-1]"),
    "principals reversed": ("for principal in names", "for principal in names[::-1]"),
    "principals with one more": ("for principal in names", 'for principal in (*names, "root")'),
    "principals joined": ("for principal in names", 'for principal in [",".join(names)]'),
    "principals not packed": ("string(principal.encode())", "principal.encode()"),
    "principal without host": ("string(principal.encode())", 'string(principal.split("@")[0].encode())'),
    "validity swapped": ("uint64(fields.valid_after)", "uint64(fields.valid_before)"),
    "valid from always": ("uint64(fields.valid_after)", "uint64(0)"),
    "valid a second longer": ("uint64(fields.valid_before)", "uint64(fields.valid_before + 1)"),
    "valid forever": ("uint64(fields.valid_before)", "uint64(2**64 - 1)"),
    "valid in milliseconds": ("uint64(fields.valid_before)", "uint64(fields.valid_before * 1000)"),
    "critical options left out": ('string(b"".join(options))', 'string(b"")'),
    "critical options without the first": ('string(b"".join(options))', 'string(b"".join(options[1:]))'),
    "critical options reversed": ('string(b"".join(options))', 'string(b"".join(options[::-1]))'),
    "critical options twice": ('string(b"".join(options))', 'string(b"".join(options * 2))'),
    "critical options as extensions": ('string(b"".join(options))', 'string(b"".join(extensions))'),
    "critical value not wrapped": ("string(string(value.encode()) if value", "string(value.encode() if value"),
    "critical value with more": ("string(string(value.encode()) if value", 'string(string(value.encode()) + b"x" if value'),
    "critical value in other words": ("string(string(value.encode()) if value", "string(string(value.lower().encode() + b' ') if value"),
    "flag with an empty value": ('if value else b""', 'if value else string(b"")'),
    "extensions left out": ('string(b"".join(extensions))', 'string(b"")'),
    "extensions reversed": ('string(b"".join(extensions))', 'string(b"".join(extensions[::-1]))'),
    "extensions twice": ('string(b"".join(extensions))', 'string(b"".join(extensions * 2))'),
    "extensions with agent forwarding": ("for name in flags", 'for name in ("permit-agent-forwarding", *flags)'),
    "extension with a value": ('string(name.encode()) + string(b"") for', 'string(name.encode()) + string(string(b"")) for'),
    "extension without data": ('string(name.encode()) + string(b"") for', "string(name.encode()) for"),
    "reserved in use": ('string(b""),  # reserved', 'string(b"x"),  # reserved'),
    "reserved left out": ('        string(b""),  # reserved\n', ""),
    "CA key is the subject": ("string(fields.ca_key.blob)", "string(key.blob)"),
    "CA key not packed": ("string(fields.ca_key.blob)", "fields.ca_key.blob"),
    "CA key left out": ("        string(fields.ca_key.blob),\n", ""),
    "something behind the CA key": ("string(fields.ca_key.blob)", 'string(fields.ca_key.blob) + string(b"")'),
}  # fmt: skip

SLIPS_OF_THE_WIRE = {
    "strings little-endian": {"string": lambda content: len(content).to_bytes(4, "little") + content},
    "strings with two bytes of length": {"string": lambda content: len(content).to_bytes(2, "big") + content},
    "strings with a nul": {"string": lambda content: sshwire.string(content + b"\0")},
    "uint64 little-endian": {"uint64": lambda value: struct.pack("<Q", value)},
    "uint64 signed 32 bits": {"uint64": lambda value: struct.pack(">Q", value % 2**31)},
    "uint32 with eight bytes": {"uint32": lambda value: struct.pack(">Q", value)},
}  # fmt: skip


SOURCE = "".join(inspect.getsource(part) for part in (to_be_signed, certificate._principals, certificate._options))


def builder(source, **slips):
    """Compile a builder from source, with the module's names around it."""
    around = {**vars(certificate), **slips}
    exec(source, around)
    return around["to_be_signed"]


def mutant(name):
    if name in SLIPS_OF_THE_WIRE:
        return builder(SOURCE, **SLIPS_OF_THE_WIRE[name])
    found, instead = MUTANTS[name]
    assert SOURCE.count(found) == 1, f"the builder changed: write the mutant {name!r} anew"
    return builder(SOURCE.replace(found, instead))


def test_B_12_the_builder_without_a_mutation_passes():
    same = builder(SOURCE)
    assert same(FIELDS) == to_be_signed(FIELDS)
    lint(same(FIELDS), FIELDS)
    assert len(MUTANTS) + len(SLIPS_OF_THE_WIRE) >= 20


@pytest.mark.parametrize("name", [*MUTANTS, *SLIPS_OF_THE_WIRE])
def test_B_12_every_mutated_builder_is_caught(name):
    wrong = mutant(name)(FIELDS)
    assert wrong != to_be_signed(FIELDS), "a mutant that changes nothing shows nothing"
    with pytest.raises(LintError):
        lint(wrong, FIELDS)


@pytest.mark.parametrize("subject", SUBJECT_KINDS)
def test_B_12_every_byte_counts(subject):
    fields = a_certificate(subject, critical_options=(COMMAND, SOURCES, VERIFY))
    tbs = to_be_signed(fields)
    lint(tbs, fields)
    for at in range(len(tbs)):
        for flip in (0x01, 0x80, 0xFF):
            changed = bytearray(tbs)
            changed[at] ^= flip
            with pytest.raises(LintError):
                lint(bytes(changed), fields)
        with pytest.raises(LintError):
            lint(tbs[:at], fields)
    for tail in (b"\0", bytes(4), b"x" * 99):
        with pytest.raises(LintError):
            lint(tbs + tail, fields)


@settings(max_examples=200)
@given(st.binary(max_size=300), st.integers(0, 400))
def test_B_12_arbitrary_bytes_raise_nothing_but_a_lint_error(content, keep):
    tbs = to_be_signed(FIELDS)
    for wrong in (content, tbs[:keep] + content):
        with contextlib.suppress(LintError):
            lint(wrong, FIELDS)
            assert wrong == tbs


def test_B_12_the_lint_shares_no_code_with_the_builder():
    ours = {
        name
        for name, thing in vars(certificate_lint).items()
        if getattr(thing, "__module__", "").startswith("tms_ca") and thing.__module__ != certificate_lint.__name__
    }
    assert ours == {"valid_option_value"}
    assert "valid_option_value" not in SOURCE


def rsa(bits, exponent=65537, even=False):
    return line("ssh-rsa", number(exponent), number((1 << bits - 1) | (0 if even else 1)))


def key(text):
    """A key that no parser of ours has judged."""
    algorithm, encoded = text.split(" ")
    return PublicKey(algorithm, base64.b64decode(encoded))


ED_POINT = parse_public_key(public_line("ed25519")).blob[-32:]
P256_POINT = parse_public_key(public_line("nistp256")).blob[-65:]
P384_POINT = parse_public_key(public_line("nistp384")).blob[-97:]

A_HOST = {
    "type": CertType.HOST, "principals": ("h1", "h1.example.org"), "critical_options": (), "extensions": (),
    "valid_after": 1_799_999_700, "valid_before": 1_800_000_000 + 30 * 86400,
}  # fmt: skip

# Each is built faithfully, and breaks one rule.
FORBIDDEN = {
    "nonce of 31 bytes": {"nonce": bytes(31)},
    "nonce of 33 bytes": {"nonce": bytes(33)},
    "nonce empty": {"nonce": b""},
    "serial 0": {"serial": 0},
    "serial 2**63": {"serial": 2**63},
    "serial 2**64 - 1": {"serial": 2**64 - 1},
    "type 0": {"type": 0, "critical_options": (), "extensions": ()},
    "type 3": {"type": 3, "critical_options": (), "extensions": ()},
    "host with options": {**A_HOST, "critical_options": (("force-command", "x"),)},
    "host that is an account": {**A_HOST, "principals": ("alice@h1",)},
    "host in upper case": {**A_HOST, "principals": ("H1",)},
    "host with a star": {**A_HOST, "principals": ("*.example.org",)},
    "host for more than 90 days": {**A_HOST, "valid_after": 1, "valid_before": 2 + 90 * 86400},
    "host with a FIDO key": {**A_HOST, "public_key": key(public_line("sk-ed25519"))},
    "host with extensions": {**A_HOST, "extensions": ("permit-pty",)},
    "key id empty": {"key_id": ""},
    "key id of 129": {"key_id": "k" * 129},
    "key id with newline": {"key_id": "t=a\n"},
    "key id with escape": {"key_id": "\x1b[2J"},
    "key id with nul": {"key_id": "a\0"},
    "key id not ascii": {"key_id": "é"},
    "no principals": {"principals": ()},
    "65 principals": {"principals": tuple(f"a{n}" for n in range(65))},
    "principal twice": {"principals": ("alice", "alice")},
    "never begins": {"valid_after": 0},
    "ends before it begins": {"valid_after": 1_700_003_601},
    "ends when it begins": {"valid_after": 1_700_003_600},
    "forever": {"valid_before": 2**64 - 1},
    "2**63": {"valid_before": 2**63},
    "unknown critical option": {"critical_options": (("no-such-thing", "x"),)},
    "critical option of an extension": {"critical_options": (("permit-pty", ""),)},
    "critical options unsorted": {"critical_options": (SOURCES, COMMAND)},
    "critical option twice": {"critical_options": (COMMAND, COMMAND)},
    "force-command empty": {"critical_options": (("force-command", ""),)},
    "force-command with newline": {"critical_options": (("force-command", "a\nb"),)},
    "force-command with nul": {"critical_options": (("force-command", "a\0b"),)},
    "force-command of 4097": {"critical_options": (("force-command", "x" * 4097),)},
    "force-command with direction mark": {"critical_options": (("force-command", "a\u202eb"),)},
    "source-address empty": {"critical_options": (("source-address", ""),)},
    "source-address with host bits": {"critical_options": (("source-address", "127.0.0.1/0"),)},
    "source-address not canonical": {"critical_options": (("source-address", "2001:DB8::/32"),)},
    "source-address twice": {"critical_options": (("source-address", "10.0.0.0/8,10.0.0.0/8"),)},
    "source-address with blank": {"critical_options": (("source-address", "10.0.0.0/8, 11.0.0.0/8"),)},
    "33 source addresses": {"critical_options": (("source-address", ",".join(f"10.0.0.{n}/32" for n in range(33))),)},
    "verify-required with a value": {"critical_options": (("verify-required", "yes"),)},
    "unknown extension": {"extensions": ("permit-everything",)},
    "extension of a critical option": {"extensions": ("force-command",)},
    "extensions unsorted": {"extensions": ("permit-pty", "permit-agent-forwarding")},
    "extension twice": {"extensions": ("permit-pty", "permit-pty")},
    "subject is the CA": {"public_key": unverified_public_key(parse_public_key(public_line("ed25519", CA)).blob)},
    "subject dsa": {"public_key": key(line("ssh-dss", b"\1", b"\1", b"\1", b"\1"))},
    "subject of 31 bytes": {"public_key": key(line("ssh-ed25519", bytes(31)))},
    "subject with more": {"public_key": key(line("ssh-ed25519", ED_POINT, b""))},
    "subject rsa 2048": {"public_key": key(rsa(2048))},
    "subject rsa 3071": {"public_key": key(rsa(3071))},
    "subject rsa 8193": {"public_key": key(rsa(8193))},
    "subject rsa even": {"public_key": key(rsa(3072, even=True))},
    "subject rsa exponent 3": {"public_key": key(rsa(3072, exponent=3))},
    "subject on another curve": {"public_key": key(line("ecdsa-sha2-nistp256", b"nistp384", P256_POINT))},
    "subject on the curve of another name": {"public_key": key(line("ecdsa-sha2-nistp256", b"nistp384", P384_POINT))},
    "subject point compressed": {"public_key": key(line("ecdsa-sha2-nistp256", b"nistp256", b"\2" + P256_POINT[1:33]))},
    "subject point empty": {"public_key": key(line("ecdsa-sha2-nistp256", b"nistp256", b""))},
    "subject fido without application": {"public_key": key(line("sk-ssh-ed25519@openssh.com", ED_POINT, b""))},
    "subject fido of a web site": {"public_key": key(line("sk-ssh-ed25519@openssh.com", ED_POINT, b"https://a"))},
    "subject fido stripped": {"public_key": PublicKey("sk-ssh-ed25519@openssh.com", packed(b"ssh-ed25519", ED_POINT))},
    "subject's type is another": {"public_key": PublicKey("ssh-rsa", packed(b"ssh-ed25519", ED_POINT))},
    "subject empty": {"public_key": PublicKey("ssh-ed25519", b"")},
    "subject a key and more": {"public_key": PublicKey("ssh-ed25519", packed(b"ssh-ed25519", ED_POINT) + b"x")},
    "ca fido": {"ca_key": key(public_line("sk-ed25519"))},
    "ca dsa": {"ca_key": key(line("ssh-dss", b"\1", b"\1", b"\1", b"\1"))},
    "ca rsa 2048": {"ca_key": key(rsa(2048))},
    "ca empty": {"ca_key": PublicKey("ssh-ed25519", b"")},
    "ca with more": {"ca_key": PublicKey("ssh-ed25519", packed(b"ssh-ed25519", bytes(32)) + b"x")},
    "ca's type is another": {"ca_key": PublicKey("ssh-rsa", packed(b"ssh-ed25519", bytes(32)))},
    "over 8 KiB": {"principals": tuple(f"{'p' * 125}{n:02}" for n in range(64))},
}  # fmt: skip


@pytest.mark.parametrize("name", FORBIDDEN)
def test_B_12_a_faithful_builder_cannot_get_a_forbidden_certificate_past_the_lint(name):
    fields = a_certificate(**FORBIDDEN[name])
    tbs = to_be_signed(fields)  # the builder does not judge
    with pytest.raises(LintError):
        lint(tbs, fields)


def test_B_02_no_hostile_principal_passes_the_lint():
    passed = []
    for principal in HOSTILE_PRINCIPALS:
        with contextlib.suppress(LintError, UnicodeEncodeError):
            fields = a_certificate(principals=("alice", principal))
            lint(to_be_signed(fields), fields)
            passed.append(principal)
    assert passed == []


@pytest.mark.parametrize(
    "changes",
    [
        {"principals": ("_",)},
        {"principals": ("p" * 128,)},
        {"serial": 1},
        {"valid_before": 2**63 - 1},
        {"valid_after": 1, "valid_before": 2},
        {"key_id": "k" * 128},
        {"critical_options": (), "extensions": ()},
        {"critical_options": (("force-command", "x" * 4096),)},
        {**A_HOST},
        {**A_HOST, "principals": ("10.0.0.1", "::1", "fe80::1", "a_b", "h" * 128)},
        {**A_HOST, "valid_after": 1, "valid_before": 1 + 90 * 86400},
        {"public_key": key(rsa(3072))},
        {"public_key": key(rsa(8192))},
    ],
)
def test_B_12_what_is_just_inside_the_rules_passes(changes):
    fields = a_certificate(**changes)
    lint(to_be_signed(fields), fields)


@pytest.mark.parametrize(
    "field",
    [
        "public_key",
        "nonce",
        "serial",
        "key_id",
        "principals",
        "valid_after",
        "valid_before",
        "critical_options",
        "extensions",
        "ca_key",
    ],
)
def test_B_12_a_good_certificate_for_another_intent_is_refused(field):
    other = {
        "public_key": parse_public_key(public_line("ed25519", 5)), "nonce": bytes(32), "serial": 5, "key_id": "id",
        "principals": ("bob",), "valid_after": 5, "valid_before": 1_800_000_000, "critical_options": (),
        "extensions": (), "ca_key": parse_public_key(public_line("nistp256", CA)),
    }  # fmt: skip
    fields = a_certificate(**{field: other[field]})
    lint(to_be_signed(fields), fields)
    with pytest.raises(LintError):
        lint(to_be_signed(fields), a_certificate())
