"""The master key: what is sealed opens with the same key for the same name, unaltered, and with nothing else."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tms_ca.core.errors import Unavailable
from tms_ca.vault import KEY_BYTES, Vault, create_master_key, load_vault

VAULT = Vault(bytes(range(32)))


@given(st.text(max_size=20), st.binary(max_size=200))
def test_what_is_sealed_opens(name, secret):
    sealed = VAULT.seal(name, secret)
    assert VAULT.unseal(name, sealed) == secret
    assert len(sealed) == len(secret) + 12 + 16
    assert len(secret) < 4 or secret not in sealed
    assert VAULT.seal(name, secret) != sealed, "a nonce was used twice"


@pytest.mark.parametrize(("vault", "name"), [
    (Vault(bytes(range(1, 33))), "ca-key:default:SHA256:x"), (VAULT, "ca-key:default:SHA256:y"), (VAULT, ""),
    (VAULT, "ca-key:other:SHA256:x"), (VAULT, "totp:default:alice"),
])  # fmt: skip
def test_F_01_another_key_or_name_does_not_open(vault, name):
    with pytest.raises(Unavailable, match="does not open with this master key"):
        vault.unseal(name, VAULT.seal("ca-key:default:SHA256:x", b"secret"))


def test_F_01_no_flipped_bit_and_no_cut_is_accepted():
    sealed = VAULT.seal("n", b"secret")
    for bit in range(len(sealed) * 8):
        altered = bytearray(sealed)
        altered[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(Unavailable):
            VAULT.unseal("n", bytes(altered))
    for length in range(len(sealed)):
        with pytest.raises(Unavailable):
            VAULT.unseal("n", sealed[:length])
    with pytest.raises(Unavailable):
        VAULT.unseal("n", sealed + b"\0")


def test_each_use_has_its_own_key():
    keys = {VAULT.audit_key, VAULT.csrf_key, bytes(range(32))}
    assert len(keys) == 3
    assert {len(key) for key in keys} == {KEY_BYTES}
    assert Vault(bytes(range(32))).audit_key == VAULT.audit_key


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_master_key_has_32_bytes(length):
    with pytest.raises(ValueError, match="32 bytes"):
        Vault(bytes(length))


def test_a_new_master_key_is_its_owners_alone_and_never_overwritten(tmp_path):
    path = tmp_path / "master.key"
    before = os.umask(0)
    try:
        create_master_key(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    text = path.read_text()
    assert len(bytes.fromhex(text.strip())) == KEY_BYTES
    with pytest.raises(FileExistsError):
        create_master_key(path)
    assert path.read_text() == text
    (tmp_path / "other.key").symlink_to(path)
    with pytest.raises(FileExistsError):
        create_master_key(tmp_path / "other.key")
    assert load_vault(path).unseal("n", load_vault(path).seal("n", b"x")) == b"x"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o660, 0o604, 0o601, 0o610, 0o777])
def test_F_01_a_master_key_that_others_can_reach_is_refused(tmp_path, mode):
    path = tmp_path / "master.key"
    create_master_key(path)
    path.chmod(mode)
    with pytest.raises(ValueError, match=f"mode {mode:04o}"):
        load_vault(path)
    path.chmod(0o400)
    load_vault(path)


@pytest.mark.parametrize(
    "content",
    [b"", b"00" * 31, b"00" * 33, b"zz" * 32, b"\xff" * 64, b"0x" + b"00" * 31],
)
def test_what_is_no_key_is_said_with_the_files_name_and_without_its_content(tmp_path, content):
    path = tmp_path / "master.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(ValueError, match="expected 64 hexadecimal digits") as raised:
        load_vault(path)
    assert str(path) in str(raised.value)


def test_a_key_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"cannot read the master key .*nowhere\.key: No such file"):
        load_vault(tmp_path / "nowhere.key")
    with pytest.raises(ValueError, match="Is a directory"):
        load_vault(tmp_path)
