"""Software CA keys of every algorithm: the real ssh-keygen believes what they sign, and nothing that was changed."""

import base64
import subprocess

import pytest

from tests.unit.test_certificate import a_certificate
from tms_ca.core.certificate import assemble, certificate_line, to_be_signed
from tms_ca.core.sshwire import Reader, string
from tms_ca.signing import CA_ALGORITHMS, SoftwareSigner

SIGNATURES = {
    "ed25519": (b"ssh-ed25519", "ssh-ed25519"),
    "ecdsa-p256": (b"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256"),
    "ecdsa-p384": (b"ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384"),
    "ecdsa-p521": (b"ecdsa-sha2-nistp521", "ecdsa-sha2-nistp521"),
    "rsa-3072": (b"rsa-sha2-512", "ssh-rsa"),
    "rsa-4096": (b"rsa-sha2-512", "ssh-rsa"),
}


@pytest.fixture(scope="module")
def signers() -> dict[str, SoftwareSigner]:
    return {algorithm: SoftwareSigner.generate(algorithm) for algorithm in CA_ALGORITHMS}


def test_these_are_the_algorithms():
    assert set(SIGNATURES) == set(CA_ALGORITHMS)


def armoured(signer: SoftwareSigner, signature: bytes) -> str:
    """Return an SSHSIG (OpenSSH, PROTOCOL.sshsig) around `signature`."""
    fields = [signer.public_key.blob, b"file", b"", b"sha512", signature]
    blob = b"SSHSIG" + (1).to_bytes(4, "big") + b"".join(string(field) for field in fields)
    return f"-----BEGIN SSH SIGNATURE-----\n{base64.encodebytes(blob).decode()}-----END SSH SIGNATURE-----\n"


def believed(tmp_path, signer: SoftwareSigner, armour: str, message: bytes) -> bool:
    (tmp_path / "signature").write_text(armour)
    (tmp_path / "signers").write_text(f"ca {signer.public_key.line}\n")
    run = subprocess.run(
        ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "ca", "-n", "file", "-s", "signature"],
        cwd=tmp_path, input=message, capture_output=True, check=False,
    )  # fmt: skip
    return run.returncode == 0


@pytest.mark.parametrize("algorithm", CA_ALGORITHMS)
async def test_ssh_keygen_verifies_the_signature(signers, tmp_path, algorithm):
    import hashlib

    signer = signers[algorithm]
    message = b"what is signed\n"
    digest = hashlib.sha512(message).digest()
    to_sign = b"SSHSIG" + string(b"file") + string(b"") + string(b"sha512") + string(digest)
    for _ in range(20 if "rsa" not in algorithm else 1):  # r and s of ECDSA change length
        signature = await signer.sign(to_sign)
        assert believed(tmp_path, signer, armoured(signer, signature), message)
    assert not believed(tmp_path, signer, armoured(signer, signature), message + b"x")
    altered = signature[:-1] + bytes([signature[-1] ^ 1])
    assert not believed(tmp_path, signer, armoured(signer, altered), message)


@pytest.mark.parametrize("algorithm", CA_ALGORITHMS)
async def test_the_signature_names_its_algorithm_and_never_sha_1(signers, algorithm):
    signature, kind = SIGNATURES[algorithm]
    reader = Reader(await signers[algorithm].sign(b"x"))
    assert reader.string() == signature
    assert signers[algorithm].public_key.algorithm == kind


@pytest.mark.parametrize("algorithm", CA_ALGORITHMS)
async def test_ssh_keygen_reads_a_certificate_of_each(signers, tmp_path, algorithm):
    signer = signers[algorithm]
    tbs = to_be_signed(a_certificate(ca_key=signer.public_key))
    (tmp_path / "id-cert.pub").write_text(certificate_line(assemble(tbs, await signer.sign(tbs))) + "\n")
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", tmp_path / "id-cert.pub"], capture_output=True, text=True, check=True
    )
    assert f"{signer.public_key.fingerprint} (using {SIGNATURES[algorithm][0].decode()})" in shown.stdout


@pytest.mark.parametrize("algorithm", CA_ALGORITHMS)
def test_a_key_is_the_same_after_it_was_kept(signers, algorithm):
    kept = signers[algorithm].private_bytes()
    assert SoftwareSigner.load(kept).public_key == signers[algorithm].public_key
    assert SoftwareSigner.load(kept).private_bytes() == kept


@pytest.mark.parametrize("algorithm", ["", "dsa", "rsa", "rsa-1024", "rsa-2048", "rsa-99999", "ecdsa-p192", "ED25519"])
def test_no_other_algorithm_is_made(algorithm):
    with pytest.raises(ValueError, match="expected one of ed25519"):
        SoftwareSigner.generate(algorithm)


def test_two_keys_are_never_the_same():
    assert len({SoftwareSigner.generate("ed25519").public_key.fingerprint for _ in range(50)}) == 50
