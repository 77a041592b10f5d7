"""KRLs: whatever is in them, ssh-keygen loads them and agrees on every certificate."""

import contextlib
import hashlib
import random
import re
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.sshkeys import packed, public_line, ssh_keygen
from tests.unit.test_certificate import CA, a_certificate, signed
from tms_ca.core import krl
from tms_ca.core.certificate import certificate_line
from tms_ca.core.errors import Invalid, Malformed
from tms_ca.core.krl import KrlContents, encode_krl, fingerprint_bytes, parse_krl
from tms_ca.core.publickey import parse_ca_key, parse_public_key

CA_KEY = parse_ca_key(public_line("ed25519", CA))
OTHER_CA = parse_ca_key(public_line("nistp256", CA))
LAST = 2**63 - 1


def encode(**contents):
    return encode_krl(KrlContents(**contents), version=7, generated=1_700_000_000, comment="tms-ca default")


def serials_of(listed):
    return {serial for first, last in listed for serial in range(first, last + 1)}


def listing(blob, tmp_path):
    """What ssh-keygen -Ql says: {CA fingerprint: (serials, key IDs)}, and the hashes of keys."""
    (tmp_path / "krl").write_bytes(blob)
    result = ssh_keygen("-Q", "-l", "-f", tmp_path / "krl")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("# KRL version 7\n# Generated at 20231114T221320\n")
    cas, hashes = {}, set()
    for text in result.stdout.splitlines():
        if heading := re.fullmatch(r"# CA key \S+ (SHA256:\S+)", text):
            serials, ids = cas[heading[1]] = [], set()
        elif text.startswith("serial: "):
            first, _, last = text.removeprefix("serial: ").partition("-")
            serials.append((int(first), int(last or first)))
        elif text.startswith("id: "):
            ids.add(text.removeprefix("id: "))
        elif text.startswith("hash: "):
            hashes.add(text.split(" ")[1])
    return cas, hashes


def verdicts(blob, certificates, tmp_path):
    """What ssh-keygen -Q says of each, as booleans: revoked or not."""
    (tmp_path / "krl").write_bytes(blob)
    paths = []
    for n, text in enumerate(certificates):
        path = tmp_path / f"{n:05}.pub"
        path.write_text(text + "\n")
        paths.append(path)
    result = ssh_keygen("-Q", "-f", tmp_path / "krl", *paths)
    assert result.returncode in {0, 1}, result.stderr
    lines = result.stdout.splitlines()
    assert len(lines) == len(paths), result.stderr
    revoked = [text.endswith(": REVOKED") for text in lines]
    assert all(text.endswith((": ok", ": REVOKED")) for text in lines)
    assert result.returncode == any(revoked)
    return revoked


def certificate(serial, **changes):
    return certificate_line(signed(a_certificate(serial=serial, **changes)))


PATTERNS = {
    "one": {42},
    "the first": {1},
    "the last": {LAST},
    "the first and the last": {1, LAST},
    "one range": set(range(5, 40_000)),
    "two neighbours": {5, 6},
    "three neighbours": {5, 6, 7},
    "alternating to 16,385": set(range(1, 16_386, 2)),
    "alternating to 100,000": set(range(1, 100_001, 2)),
    "alternating at the end": set(range(LAST - 40_000, LAST + 1, 2)),
    "every third": set(range(7, 60_000, 3)),
    "every sixty-fourth": set(range(64, 300_000, 64)),
    "every sixty-fifth": set(range(65, 300_000, 65)),
    "all but every 600th": {n for n in range(1, 50_000) if n % 600},
    "all but every 100th": {n for n in range(1, 50_000) if n % 100},
    "long runs between single ones": {n for n in range(1, 60_000) if n % 2_000 < 700 or n % 50 == 0},
    "8,192 in a row, and one": {*range(1, 8_193), 8_194},
    "half of all, at random": set(random.Random(1).sample(range(1, 80_000), 40_000)),
    "random 63 bits": {random.Random(n).getrandbits(63) | 1 for n in range(5_000)},
    "around 2**32": set(range(2**32 - 3_000, 2**32 + 3_000, 2)),
    "beyond 2**63": {2**63, 2**64 - 3, 2**64 - 1},
}  # fmt: skip


@pytest.mark.parametrize("name", PATTERNS)
def test_G_06_ssh_keygen_loads_every_pattern_and_lists_exactly_it(name, tmp_path):
    wanted = PATTERNS[name]
    blob = encode(serials={CA_KEY: wanted})
    cas, hashes = listing(blob, tmp_path)
    assert serials_of(cas[CA_KEY.fingerprint][0]) == wanted
    assert (cas.keys(), hashes) == ({CA_KEY.fingerprint}, set())
    assert serials_of(parse_krl(blob).serials[CA_KEY]) == wanted


def test_G_06_an_oversized_bitmap_would_have_been_noticed(tmp_path, monkeypatch):
    # The negative twin: what ssh-keygen writes for itself, and then cannot read.
    monkeypatch.setattr(krl, "_BITMAP_BITS", 20_000)
    (tmp_path / "krl").write_bytes(encode(serials={CA_KEY: set(range(1, 18_000, 2))}))
    assert ssh_keygen("-Q", "-l", "-f", tmp_path / "krl").returncode != 0


def test_G_06_ssh_keygen_agrees_on_1000_of_1000_certificates(tmp_path):
    chance = random.Random(7)
    serials = [chance.getrandbits(63) or 1 for _ in range(1000)]
    revoked = set(chance.sample(serials, 500))
    said = verdicts(encode(serials={CA_KEY: revoked}), [certificate(serial) for serial in serials], tmp_path)
    assert sum(said) == 500
    assert sum(verdict == (serial in revoked) for serial, verdict in zip(serials, said, strict=True)) == 1000


@pytest.mark.parametrize(
    "name",
    [
        "alternating to 16,385",
        "alternating at the end",
        "all but every 600th",
        "the last",
        "long runs between single ones",
    ],
)
def test_G_06_neighbours_of_revoked_serials_stand(name, tmp_path):
    wanted = PATTERNS[name]
    borders = sorted(n for n in wanted if not {n - 1, n + 1} <= wanted)
    chosen = random.Random(3).sample(borders, min(len(borders), 20))
    edges = sorted(n for n in {n + d for n in chosen for d in (-1, 0, 1)} if 0 < n <= LAST)
    said = verdicts(encode(serials={CA_KEY: wanted}), [certificate(serial) for serial in edges], tmp_path)
    assert said == [serial in wanted for serial in edges]
    assert True in said
    assert False in said


def test_G_06_each_way_to_revoke_and_its_twin(tmp_path):
    other = parse_public_key(public_line("ed25519", 1))
    plain, stranger = certificate(5), certificate(5, public_key=other, key_id="another")
    for contents in (
        {"serials": {CA_KEY: {5, 6}}},
        {"key_ids": {CA_KEY: {a_certificate().key_id}}},
        {"keys": frozenset({a_certificate().public_key.blob})},
        {"fingerprints": frozenset({hashlib.sha256(a_certificate().public_key.blob).digest()})},
        {"fingerprints": frozenset({fingerprint_bytes(a_certificate().public_key.fingerprint)})},
        {"revoked_ca_keys": (CA_KEY,)},
    ):
        by_key_alone = "serials" not in contents and "revoked_ca_keys" not in contents
        certificates = [plain, stranger, a_certificate().public_key.line, other.line]
        key_too = "keys" in contents or "fingerprints" in contents
        assert verdicts(encode(**contents), certificates, tmp_path) == [True, not by_key_alone, key_too, False]


def test_G_06_what_another_ca_signed_stands(tmp_path):
    theirs = a_certificate(ca="nistp256", serial=5)
    certificates = [certificate(5), certificate_line(signed(theirs, "nistp256"))]
    key_id = theirs.key_id
    assert verdicts(encode(serials={CA_KEY: {5}}), certificates, tmp_path) == [True, False]
    assert verdicts(encode(serials={OTHER_CA: {5}}), certificates, tmp_path) == [False, True]
    assert verdicts(encode(key_ids={CA_KEY: {key_id}}), certificates, tmp_path) == [True, False]
    assert verdicts(encode(revoked_ca_keys=(OTHER_CA,)), certificates, tmp_path) == [False, True]
    both = encode(serials={CA_KEY: {5}, OTHER_CA: {5}}, key_ids={OTHER_CA: {"x"}})
    assert verdicts(both, certificates, tmp_path) == [True, True]
    assert listing(both, tmp_path)[0] == {
        CA_KEY.fingerprint: ([(5, 5)], set()),
        OTHER_CA.fingerprint: ([(5, 5)], {"x"}),
    }


def test_G_06_nothing_revoked_is_a_krl_all_the_same(tmp_path):
    # sshd takes a file of zero bytes as "nothing is revoked", so a cut file must never look like this one.
    for empty in (encode(), encode(serials={CA_KEY: set()}, key_ids={CA_KEY: set()})):
        assert len(empty) > 40
        assert listing(empty, tmp_path) == ({}, set())
        assert verdicts(empty, [certificate(5)], tmp_path) == [False]
        assert parse_krl(empty).serials == {}


def test_G_06_a_krl_that_was_cut_does_not_load(tmp_path):
    blob = encode(serials={CA_KEY: {5, 99}}, fingerprints=frozenset({bytes(32)}))
    for size in (1, 10, 43, len(blob) - 1):
        (tmp_path / "krl").write_bytes(blob[:size])
        assert ssh_keygen("-Q", "-l", "-f", tmp_path / "krl").returncode != 0
        with pytest.raises(Malformed):
            parse_krl(blob[:size])


def test_G_06_there_is_no_signature_section_and_lists_ascend():
    blob = encode(
        serials={CA_KEY: {9, 3}, OTHER_CA: {1}},
        keys=frozenset({parse_public_key(public_line("ed25519", n)).blob for n in range(5)}),
        fingerprints=frozenset(hashlib.sha256(bytes([n])).digest() for n in range(9)),
    )
    at = 44 + len("tms-ca default")
    kinds = []
    while at < len(blob):
        kinds.append(blob[at])
        at += 5 + struct.unpack_from(">I", blob, at + 1)[0]
    assert kinds == [1, 1, 2, 5]
    assert at == len(blob)
    assert parse_krl(blob).keys  # the reader refuses lists that do not ascend


def test_G_06_the_same_contents_give_the_same_bytes():
    ids = {f"id {n}" for n in range(50)}
    one = encode(serials={CA_KEY: {3, 1, 2}, OTHER_CA: {9}}, key_ids={CA_KEY: set(ids)})
    two = encode(serials={OTHER_CA: {9}, CA_KEY: {2, 3, 1}}, key_ids={CA_KEY: frozenset(ids)})
    assert one == two


def test_G_07_100_000_random_serials_take_no_more_than_a_megabyte(tmp_path):
    chance = random.Random(5)
    wanted = {chance.getrandbits(63) or 1 for _ in range(100_000)}
    blob = encode(serials={CA_KEY: wanted})
    assert len(blob) <= 1_000_000
    assert serials_of(listing(blob, tmp_path)[0][CA_KEY.fingerprint][0]) == wanted


@pytest.mark.parametrize(
    ("wanted", "most"),
    [
        (set(range(1, 100_001)), 200),
        (set(range(1, 100_001, 2)), 13_000),
        (set(range(10**6, 10**9, 10**4)), 8 * 99_900 + 200),
        ({first + n for first in range(1, 10**6, 1000) for n in range(20)}, 22_000),
        ({1, 2, 3}, 140),
    ],
)
def test_serials_take_the_smallest_form(wanted, most):
    assert len(encode(serials={CA_KEY: wanted})) <= most


CLUSTERS = st.lists(
    st.tuples(st.one_of(st.integers(1, 30_000), st.integers(1, LAST - 30_000)), st.integers(1, 700), st.integers(1, 80)),
    max_size=12,
)  # fmt: skip
CONTENTS = st.builds(
    KrlContents,
    serials=st.dictionaries(
        st.sampled_from([CA_KEY, OTHER_CA]),
        CLUSTERS.map(lambda clusters: {n for first, count, stride in clusters for n in range(first, first + count * stride, stride) if n <= LAST}),
    ),
    key_ids=st.dictionaries(
        st.sampled_from([CA_KEY, OTHER_CA]),
        st.frozensets(st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=128), max_size=5),
    ),
    keys=st.frozensets(st.integers(0, 4).map(lambda n: parse_public_key(public_line("ed25519", n)).blob)),
    fingerprints=st.frozensets(st.binary(min_size=32, max_size=32), max_size=5),
    revoked_ca_keys=st.sampled_from([(), (CA_KEY,), (OTHER_CA, CA_KEY)]),
)  # fmt: skip


@settings(max_examples=60)
@given(CONTENTS, st.integers(0, 2**64 - 1), st.integers(0, 2**40), st.sampled_from(["", "a comment"]))
def test_what_is_written_is_read_back(contents, version, generated, comment):
    read = parse_krl(encode_krl(contents, version=version, generated=generated, comment=comment))
    assert (read.version, read.generated, read.comment) == (version, generated, comment)
    assert {ca: serials_of(spans) for ca, spans in read.serials.items()} == {
        ca: set(s) for ca, s in contents.serials.items() if s
    }
    assert read.key_ids == {ca: ids for ca, ids in contents.key_ids.items() if ids}
    assert read.keys == contents.keys | {key.blob for key in contents.revoked_ca_keys}
    assert read.fingerprints == contents.fingerprints
    for ca, serials in contents.serials.items():
        for serial in list(serials)[:5]:
            assert read.lists_serial(ca, serial)
            assert read.lists_serial(ca, serial + 1) == (serial + 1 in serials)


@settings(max_examples=40)
@given(CONTENTS)
def test_G_06_ssh_keygen_loads_whatever_is_written(tmp_path_factory, contents):
    blob = encode_krl(contents, version=7, generated=1_700_000_000, comment="c")
    cas, hashes = listing(blob, tmp_path_factory.mktemp("krl"))
    for ca in {*contents.serials, *contents.key_ids}:
        spans, ids = cas.get(ca.fingerprint, ((), set()))
        assert serials_of(spans) == contents.serials.get(ca, set())
        assert ids == contents.key_ids.get(ca, frozenset())
    keys = contents.keys | {key.blob for key in contents.revoked_ca_keys}
    assert len(hashes) == len(keys) + len(contents.fingerprints)


@pytest.mark.parametrize(
    "contents",
    [
        {"serials": {CA_KEY: {0}}},
        {"serials": {CA_KEY: {5, -1}}},
        {"serials": {CA_KEY: {5, 2**64}}},
        {"key_ids": {CA_KEY: {""}}},
        {"key_ids": {CA_KEY: {"a\0b"}}},
        {"key_ids": {CA_KEY: {"a\nb"}}},
        {"key_ids": {CA_KEY: {"k" * 129}}},
        {"fingerprints": frozenset({b"short"})},
        {"fingerprints": frozenset({bytes(33)})},
    ],
)
def test_G_06_what_would_make_hosts_refuse_everybody_is_not_written(contents):
    with pytest.raises(Invalid) as refused:
        encode(**contents)
    assert refused.value.code == "bad_krl"


def test_G_06_a_serial_of_zero_would_make_ssh_keygen_refuse_the_whole(tmp_path):
    # Why the writer refuses it: the twin of the test above.
    def with_serials(*numbers):
        body = packed(CA_KEY.blob, b"") + b"\x20" + packed(b"".join(struct.pack(">Q", n) for n in numbers))
        return encode() + b"\x01" + packed(body)

    (tmp_path / "krl").write_bytes(with_serials(5, 6))
    assert ssh_keygen("-Q", "-l", "-f", tmp_path / "krl").returncode == 0
    assert parse_krl(with_serials(5, 6)).serials == {CA_KEY: ((5, 6),)}
    (tmp_path / "krl").write_bytes(with_serials(0, 6))
    assert ssh_keygen("-Q", "-l", "-f", tmp_path / "krl").returncode != 0
    with pytest.raises(Malformed):
        parse_krl(with_serials(0, 6))


def of(*inner, ca=CA_KEY.blob, reserved=b""):
    body = packed(ca, reserved) + b"".join(bytes([kind]) + packed(content) for kind, content in inner)
    return b"\x01" + packed(body)


def u64(*numbers):
    return struct.pack(f">{len(numbers)}Q", *numbers)


STRAY = {
    "signature section": b"\x04" + packed(b""),
    "sha-1 section": b"\x03" + packed(packed(bytes(20))),
    "unknown section": b"\x63" + packed(b""),
    "half a section": b"\x02\0",
    "keys that descend": b"\x02" + packed(packed(b"b", b"a")),
    "key twice": b"\x02" + packed(packed(b"a", b"a")),
    "short fingerprint": b"\x05" + packed(packed(bytes(31))),
    "any CA": of((0x20, u64(5)), ca=b""),
    "CA reserved in use": of((0x20, u64(5)), reserved=b"x"),
    "CA twice": of((0x20, u64(5))) + of((0x20, u64(6))),
    "serials that descend": of((0x20, u64(6, 5))),
    "serial twice": of((0x20, u64(5, 5))),
    "half a serial": of((0x20, u64(5)[:-1])),
    "range backwards": of((0x21, u64(6, 5))),
    "range and more": of((0x21, u64(5, 6, 7))),
    "range from 0": of((0x21, u64(0, 5))),
    "bitmap too long": of((0x22, u64(1) + packed(b"\1" + bytes(2048)))),
    "bitmap over the end": of((0x22, u64(2**64 - 2) + packed(b"\x07"))),
    "bitmap negative": of((0x22, u64(1) + packed(b"\x80"))),
    "bitmap from 0": of((0x22, u64(0) + packed(b"\x01"))),
    "key id empty": of((0x23, packed(b""))),
    "key id with newline": of((0x23, packed(b"a\n"))),
    "key ids that descend": of((0x23, packed(b"b", b"a"))),
    "unknown part": of((0x39, b"")),
}  # fmt: skip


@pytest.mark.parametrize("name", STRAY)
def test_the_reader_refuses(name):
    with pytest.raises(Malformed) as refused:
        parse_krl(encode() + STRAY[name])
    assert refused.value.code == "bad_krl"


def test_the_reader_accepts_the_same_without_the_fault():
    blob = encode() + of(
        (0x20, u64(5)), (0x21, u64(6, 9)), (0x22, u64(10) + packed(b"\x05")), (0x23, packed(b"a", b"b"))
    )
    read = parse_krl(blob)
    assert (read.serials, read.key_ids) == ({CA_KEY: ((5, 10), (12, 12))}, {CA_KEY: frozenset({"a", "b"})})
    huge = parse_krl(encode() + of((0x21, u64(1, 2**64 - 1))))
    assert huge.lists_serial(CA_KEY, LAST)
    assert not huge.lists_serial(CA_KEY, 0)
    assert not huge.lists_serial(OTHER_CA, 5)


@pytest.mark.parametrize("at", [0, 8, 11, 28, 35, 36, 39])
def test_the_reader_refuses_another_header(at):
    blob = bytearray(encode())
    blob[at] ^= 1
    with pytest.raises(Malformed):
        parse_krl(bytes(blob))


@given(st.binary(max_size=200))
def test_arbitrary_bytes_raise_nothing_but_malformed(content):
    for blob in (content, encode() + content, encode() + b"\x01" + packed(packed(CA_KEY.blob, b"") + content)):
        with contextlib.suppress(Malformed):
            parse_krl(blob)


@pytest.mark.parametrize("comment", ["a\nb", "é", "c" * 129, "\0"])
def test_a_comment_is_one_printable_line(comment):
    with pytest.raises(Invalid):
        encode_krl(KrlContents(), version=1, generated=1, comment=comment)
    assert parse_krl(encode_krl(KrlContents(), version=1, generated=1, comment="")).comment == ""


def test_fingerprints_are_read_as_ssh_keygen_prints_them():
    assert fingerprint_bytes(CA_KEY.fingerprint) == hashlib.sha256(CA_KEY.blob).digest()
    good = CA_KEY.fingerprint
    for text in (
        "",
        good[7:],
        good + "=",
        good[:-1],
        good + "A",
        "MD5:" + good[7:],
        good.lower(),
        f"{good}\n",
        f" {good}",
        "SHA256:" + "é" * 43,
    ):
        with pytest.raises(Invalid) as refused:
            fingerprint_bytes(text)
        assert refused.value.code == "bad_fingerprint"
