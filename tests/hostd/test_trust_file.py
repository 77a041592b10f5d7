"""The parsers of what comes over the wire, and files that are whole or as they were: whatever the input."""

import base64
import json
import os
import stat
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keycmd import files, trustfile
from keycmd.hostcert import CertificateError, HostCertificate

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIO/by9Naj/2nPtwbLWLYUPBEAmX6Plke67eigeji3/0c"
GOOD = {
    "epoch": "7", "expires_at": "2026-01-01T00:10:00Z", "host_ca_keys": [KEY], "issued_at": "2026-01-01T00:00:00Z",
    "krl": {"bytes": 44, "sha256": "0" * 64, "version": "3"}, "tenant": "default", "type": "tms-ca-trust/1", "user_ca_keys": [KEY],
}  # fmt: skip


def text(**changes: object) -> str:
    return json.dumps({**GOOD, **changes}, sort_keys=True, separators=(",", ":"))


def test_a_bundle_is_read():
    bundle = trustfile.parse(text(), "x", "default")
    assert (bundle.epoch, bundle.krl_version, bundle.expires_at - bundle.issued_at) == (7, 3, 600)
    assert bundle.user_ca_file == KEY.encode() + b"\n"
    assert trustfile.load_last(trustfile.as_file(bundle), "default").text == bundle.text
    assert trustfile.fingerprint(KEY) == "SHA256:m9QfvZTjW4Msjm8CT+Rke0o33iUVFRKv0JP/IKICIs0"


@pytest.mark.parametrize(
    "changes",
    [
        {"epoch": ""}, {"epoch": "-1"}, {"epoch": "07x"}, {"epoch": "9" * 19}, {"epoch": None}, {"tenant": "Default"},
        {"expires_at": "2026-01-01 00:10:00Z"}, {"expires_at": "2026-13-01T00:10:00Z"}, {"expires_at": "2026-1-1T0:10:0Z"},
        {"issued_at": 7}, {"user_ca_keys": KEY}, {"user_ca_keys": [KEY + " x"]}, {"user_ca_keys": [KEY[:-4]]},
        {"user_ca_keys": ["ssh-rsa " + KEY.split()[1]]}, {"user_ca_keys": [KEY.replace("AAAAC3", "AAAAC4")]},
        {"krl": {"bytes": 43, "sha256": "0" * 64, "version": "3"}}, {"krl": {"bytes": True, "sha256": "0" * 64, "version": "3"}},
        {"krl": {"bytes": 44, "sha256": "0" * 63, "version": "3"}}, {"krl": {"bytes": 44, "sha256": "A" * 64, "version": "3"}},
        {"krl": {"bytes": 44.0, "sha256": "0" * 64, "version": "3"}}, {"krl": [44]}, {"type": "x"}, {"more": 1},
    ],
)  # fmt: skip
def test_anything_else_is_none(changes):
    with pytest.raises(trustfile.TrustError):
        trustfile.parse(text(**changes), "x", "default")


def test_one_text_for_one_bundle():
    for wrong in (
        text() + " ",
        " " + text(),
        text().replace(",", ", "),
        text().replace('"epoch":"7"', '"epoch":"7","epoch":"7"'),
    ):
        with pytest.raises(trustfile.TrustError):
            trustfile.parse(wrong, "x", "default")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_text_breaks_the_parser(data):
    base = text()
    if data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(base)))
        given_text = base[:at] + data.draw(st.text(max_size=6)) + base[at + data.draw(st.integers(0, 6)) :]
    else:
        given_text = data.draw(st.text(max_size=200))
    try:
        bundle = trustfile.parse(given_text, "x", "default")
    except trustfile.TrustError:
        return
    assert bundle.user_ca_file.count(b"\n") == len(bundle.user_ca_keys) >= 1


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["ssh-ed25519", "ssh-rsa", "ecdsa-sha2-nistp256", "x"]))
def test_no_bytes_break_the_reader_of_certificates(blob, kind):
    name = kind + "-cert-v01@openssh.com"
    prefix = len(name).to_bytes(4, "big") + name.encode()
    for given_text in (name + " " + base64.b64encode(prefix + blob).decode(), blob.decode("latin-1")):
        with pytest.raises(CertificateError):
            HostCertificate(given_text)


def test_newer_never_goes_back():
    last = trustfile.parse(text(), "x", "default")
    trustfile.check_newer(last, None)
    trustfile.check_newer(trustfile.parse(text(), "x", "default"), last)  # the same again is no step back
    for older in ({"epoch": "6"}, {"issued_at": "2025-12-31T23:59:59Z"}, {"krl": {**GOOD["krl"], "version": "2"}}):
        bundle = trustfile.parse(text(**{"epoch": "9", **older}), "x", "default")
        with pytest.raises(trustfile.TrustError, match="older than the last one"):
            trustfile.check_newer(bundle, last)


def test_a_bundle_ends_at_its_second():
    bundle = trustfile.parse(text(), "x", "default")
    trustfile.check_time(bundle, bundle.expires_at - 1)
    with pytest.raises(trustfile.TrustError, match="clock"):
        trustfile.check_time(bundle, bundle.expires_at)


def test_ssh_keygen_that_hangs_is_a_no(tmp_path, monkeypatch):
    bundle = trustfile.parse(text(), "x", "default")
    (tmp_path / "ssh-keygen").write_text("#!/bin/sh\nexec sleep 600\n")
    (tmp_path / "ssh-keygen").chmod(0o755)
    monkeypatch.setattr(trustfile, "VERIFY_SECONDS", 0.3)
    real = subprocess.run
    monkeypatch.setattr(subprocess, "run", lambda command, **more: real([tmp_path / command[0], *command[1:]], **more))
    with pytest.raises(trustfile.TrustError, match="could not check"):
        trustfile.verify(bundle, [KEY])


def test_a_file_is_replaced_with_its_mode_whatever_the_umask_and_whatever_lies_there(tmp_path):
    other = tmp_path / "other"
    other.write_bytes(b"other")
    path = tmp_path / "krl"
    path.symlink_to(other)
    old = os.umask(0o077)
    try:
        files.write(str(path), b"new")
    finally:
        os.umask(old)
    assert (path.read_bytes(), other.read_bytes()) == (b"new", b"other")
    assert not path.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    files.write(str(path), b"secret", files.SECRET)
    assert stat.S_IMODE(path.stat().st_mode) == 0o400


def test_several_files_are_new_together_or_not_at_all(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with files.NewFiles() as new:
        new.add(str(tmp_path / "a"), b"new")
        with pytest.raises(files.FilesError, match="as it was"):
            new.add(str(tmp_path / "missing" / "b"), b"new")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_only_plain_files_of_a_sane_size_are_read(tmp_path):
    assert files.read(str(tmp_path / "none"), 10) is None
    (tmp_path / "a").write_bytes(b"x" * 11)
    os.mkfifo(tmp_path / "pipe")
    for name in ("a", "pipe", "."):
        with pytest.raises(files.FilesError):
            files.read(str(tmp_path / name), 10)
    assert files.read(str(tmp_path / "a"), 11) == b"x" * 11
