"""RFC 4251 data types, against asyncssh's and against the RFC's own examples."""

import contextlib
import struct

import asyncssh.packet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tms_ca.core.errors import Malformed
from tms_ca.core.sshwire import Reader, WireError, mpint, string, uint32, uint64

NATURAL = st.integers(0, 2**600)


@pytest.mark.parametrize(
    ("value", "wire"),
    [
        (0, "00000000"),
        (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
        (0x80, "000000020080"),
        (0x7F, "000000017f"),
    ],
)
def test_mpint_as_in_rfc_4251_section_5(value, wire):
    assert mpint(value).hex() == wire
    assert Reader(bytes.fromhex(wire)).mpint() == value


@given(NATURAL)
def test_mpint_is_what_asyncssh_writes(value):
    assert mpint(value) == asyncssh.packet.MPInt(value)


@given(
    st.binary(max_size=300),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    NATURAL,
    st.integers(0, 255),
    st.binary(max_size=9),
)
def test_what_is_written_is_read_back(content, small, large, natural, byte, tail):
    reader = Reader(string(content) + uint32(small) + uint64(large) + mpint(natural) + bytes([byte]) + tail)
    assert (reader.string(), reader.uint32(), reader.uint64(), reader.mpint(), reader.uint8()) == (
        content,
        small,
        large,
        natural,
        byte,
    )
    assert reader.more() == bool(tail)
    assert reader.rest() == tail
    assert reader.rest() == b""
    reader.end()


@given(
    st.binary(max_size=40),
    st.lists(st.sampled_from(["uint8", "uint32", "uint64", "string", "mpint", "end"]), max_size=8),
)
def test_arbitrary_bytes_raise_nothing_but_a_wire_error(content, calls):
    reader = Reader(content)
    with contextlib.suppress(WireError):
        for call in calls:
            getattr(reader, call)()


@given(st.binary(max_size=40), st.data())
def test_a_string_cut_short_is_refused(content, data):
    wire = string(content)
    cut = data.draw(st.integers(0, len(wire) - 1))
    with pytest.raises(WireError):
        Reader(wire[:cut]).string()


@pytest.mark.parametrize("call", ["uint8", "uint32", "uint64", "string", "mpint"])
def test_an_empty_input_is_too_short(call):
    with pytest.raises(WireError):
        getattr(Reader(b""), call)()


@pytest.mark.parametrize("content", [b"\0", b"\0\0", b"\0\x7f", b"\0\0\x80", b"\x80", b"\xff\xff"])
def test_numbers_that_are_negative_or_not_shortest_are_refused(content):
    with pytest.raises(WireError):
        Reader(string(content)).mpint()


def test_left_over_bytes_are_refused_and_none_are_not():
    Reader(b"").end()
    with pytest.raises(WireError, match="1 more"):
        Reader(b"x").end()


def test_a_length_beyond_the_end_is_refused_whatever_it_is():
    for length in (1, 2**31, 2**32 - 1):
        with pytest.raises(WireError):
            Reader(struct.pack(">I", length)).string()


@pytest.mark.parametrize(
    ("write", "value"), [(uint32, 2**32), (uint32, -1), (uint64, 2**64), (uint64, -1), (mpint, -1)]
)
def test_a_number_that_does_not_fit_is_never_cut(write, value):
    with pytest.raises(OverflowError):
        write(value)


def test_a_wire_error_is_the_callers_malformed_bytes():
    assert issubclass(WireError, Malformed)
