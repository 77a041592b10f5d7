"""TLS in the process: the helper's and everybody's way in when there is no proxy."""

import ssl
import subprocess
import urllib.request

import pytest

from tests.ssh.service import Service


@pytest.fixture
def secure(tmp_path):
    service = Service(tmp_path / "data")
    service.init()
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", service.data / "tls.key",
         "-out", service.data / "tls.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = service.data / "settings.toml"
    settings.write_text(
        settings.read_text().replace("[listen]", '[listen]\ntls_certificate = "tls.pem"\ntls_key = "tls.key"')
    )
    service.wait_until_ready = lambda: None
    service.start()
    yield service
    service.stop()


def test_https_with_the_right_ca_and_nothing_else(secure):
    assert secure.url.startswith("https://127.0.0.1:")
    trusting = ssl.create_default_context(cafile=secure.data / "tls.pem")
    with urllib.request.urlopen(secure.url + "/healthz", context=trusting, timeout=120) as answer:
        assert answer.status == 200
        assert answer.headers["Strict-Transport-Security"] == "max-age=31536000"
    with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(secure.url + "/healthz", timeout=120)
    with pytest.raises(OSError):
        urllib.request.urlopen(secure.url.replace("https", "http") + "/healthz", timeout=120)


def test_old_tls_is_refused(secure):
    address = secure.url.removeprefix("https://")
    for version, good in (("-tls1_1", False), ("-tls1_2", True)):
        done = subprocess.run(
            ["openssl", "s_client", "-connect", address, version, "-CAfile", secure.data / "tls.pem", "-verify_return_error"],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        assert (done.returncode == 0) is good, version


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_plain_http_for_others_is_refused(tmp_path, host):
    service = Service(tmp_path / "data")
    service.init()
    refused = service.tms_ca("serve", "--host", host, "--port", "0", check=False)
    assert refused.returncode == 2
    assert "without TLS" in refused.stderr
    assert "plain_http_on_any_address" in refused.stderr
