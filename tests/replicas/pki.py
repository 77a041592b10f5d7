"""A CA, a server's certificate and a client's, by the openssl command."""

import subprocess
from pathlib import Path

KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


def _openssl(where: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=where, check=True, capture_output=True)


def authority(where: Path, name: str) -> Path:
    """Make a CA; return its certificate."""
    subject = ["-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:TRUE"]
    _openssl(where, "req", "-x509", *KEY, "-days", "2", *subject, "-keyout", f"{name}.key", "-out", f"{name}.pem")
    return where / f"{name}.pem"


def issued(where: Path, by: str, name: str, alternative: str) -> Path:
    """Make a certificate of the CA `by`; its key is beside it as NAME.key."""
    (where / f"{name}.ext").write_text(f"subjectAltName={alternative}\n")
    _openssl(where, "req", *KEY, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
    _openssl(
        where, "x509", "-req", "-in", f"{name}.csr", "-CA", f"{by}.pem", "-CAkey", f"{by}.key", "-CAcreateserial",
        "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem",
    )  # fmt: skip
    return where / f"{name}.pem"
