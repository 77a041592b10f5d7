"""`tms` and a service with TLS of its own: whom it trusts, and whom it does not."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import Terminal, serving

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="no openssl to make a certificate with")


@pytest.fixture(scope="module")
def secured(
    template: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    """The address of a service with TLS, and the certificate to trust."""
    data = tmp_path_factory.mktemp("secured") / "data"
    shutil.copytree(template[0], data)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=tms", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", data / "tls.key", "-out", data / "tls.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    (data / "settings.toml").write_text('[listen]\ntls_certificate = "tls.pem"\ntls_key = "tls.key"\n')
    with serving(data, data / "log") as url:
        assert url.startswith("https://")
        yield url, data / "tls.pem"


LOGIN = ("login", "nobody", "--password-stdin")


def test_a_service_is_believed_only_with_a_certificate_that_is_trusted(secured: tuple[str, Path], tmp_path: Path):
    url, trusted = secured
    person = Terminal(tmp_path, {"TMS_URL": url})
    assert "(login_failed)" in person(*LOGIN, "--ca-file", trusted, stdin="x\n", code=1).err
    assert "(login_failed)" in person(*LOGIN, stdin="x\n", code=1, TMS_CA_FILE=str(trusted)).err
    stranger = person(*LOGIN, stdin="x\n", code=75)
    assert "is not trusted: " in stranger.err
    assert "--ca-file" in stranger.err


def test_a_good_certificate_for_another_name_is_refused(secured: tuple[str, Path], tmp_path: Path):
    url, trusted = secured
    elsewhere = url.replace("127.0.0.1", "localhost")
    done = Terminal(tmp_path, {})(*LOGIN, "--url", elsewhere, "--ca-file", trusted, stdin="x\n", code=75)
    assert "is not trusted: Hostname mismatch" in done.err
