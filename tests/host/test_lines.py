"""What may be printed to sshd: principals, and options that narrow; each taken line has a twin that is refused."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keycmd.lines import MOST_CHARACTERS, split_options, valid_line

TAKEN = [
    "alice@h1",
    "restrict alice@h1",
    'from="10.0.0.0/8,2001:db8::/32" alice@h1',
    'command="/usr/bin/rsync --server, really" alice@h1',
    'permitopen="db.example.org:5432" alice@h1',
    'permitopen="[2001:db8::1]:22" alice@h1',
    'permitopen="a:1",permitopen="b:*" alice@h1',
    'expiry-time="20261121141500Z" alice@h1',
    'restrict,from="127.0.0.1",command="id",permitopen="a:1",expiry-time="20261121141500Z" alice@h1',
    ",".join(f'permitopen="h{n}:22"' for n in range(16)) + " alice@h1",
]
REFUSED = [
    "", " alice@h1", "alice@h1 ", "restrict  alice@h1", "restrict,  alice@h1", "restrict,", "restrict alice@h1 bob",
    ",restrict alice@h1", "restrict, alice@h1", 'restrict,,command="id" alice@h1', "RESTRICT alice@h1",
    "restrict,restrict alice@h1", 'restrict="x" alice@h1', 'command="id",restrict alice@h1', "from alice@h1",
    'from="" alice@h1', 'from="*.example.org" alice@h1', 'from="!10.0.0.1" alice@h1', 'from="10.0.0.1,," alice@h1',
    'from="10.0.0.1/" alice@h1', 'from="10.0.0.1/1234" alice@h1', 'from="10.0.0.1",from="10.0.0.2" alice@h1',
    'command="" alice@h1', "command=id alice@h1", 'command="a"b" alice@h1', 'command="a\\" alice@h1',
    'command="a # b" alice@h1', 'command="a\tb" alice@h1', 'command="a\nb" alice@h1', 'command="\xe9" alice@h1',
    'command="a",command="b" alice@h1', 'command="id alice@h1', "command='id' alice@h1",
    'permitopen="a" alice@h1', 'permitopen="a:0" alice@h1', 'permitopen="a:65536" alice@h1', 'permitopen=":22" alice@h1',
    'permitopen="a:b" alice@h1', 'permitopen="a b:22" alice@h1', 'permitopen="a:22,b:22" alice@h1',
    ",".join(f'permitopen="h{n}:22"' for n in range(17)) + " alice@h1",
    'expiry-time="20261121" alice@h1', 'expiry-time="20261121141500" alice@h1', 'expiry-time="2026112114150ZZ" alice@h1',
    "cert-authority alice@h1", 'principals="root" alice@h1', 'environment="A=b" alice@h1', "no-pty alice@h1", "pty alice@h1",
    'permitlisten="1" alice@h1', 'tunnel="1" alice@h1', 'zos-key-ring-label="x" alice@h1', "verify-required alice@h1",
    'restrict,from="10.0.0.1" alice,root', 'restrict "alice@h1"', "restrict *", "restrict #a", "restrict -a", "restrict\talice@h1",
    'command="' + "a" * MOST_CHARACTERS + '" alice@h1', "restrict " + "a" * 129,
]  # fmt: skip


@pytest.mark.parametrize("line", TAKEN)
def test_a_line_that_is_taken(line):
    assert valid_line(line)


@pytest.mark.parametrize("line", REFUSED)
def test_G_03_a_line_that_is_refused(line):
    assert not valid_line(line)


@given(st.text(alphabet=string.printable + "é\0", max_size=60))
def test_G_03_nothing_that_is_taken_can_break_a_line(text):
    for line in (text, f"{text} alice@h1", f'command="{text}" alice@h1', f'restrict,from="{text}" alice@h1'):
        if valid_line(line):
            assert line.isascii()
            assert line.isprintable()
            assert not set(line) & set("#\\")


@given(
    st.lists(
        st.tuples(st.from_regex(r"[a-z-]{1,12}", fullmatch=True), st.none() | st.text("ab ,=é", max_size=8)), min_size=1
    )
)
def test_options_are_split_as_they_were_joined(options):
    text = ",".join(name if value is None else f'{name}="{value}"' for name, value in options)
    expected = None if "é" in text else options
    assert split_options(text) == expected
