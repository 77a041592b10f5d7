"""TLS: the CA is pinned and the name must be right."""

import ssl
import subprocess

import pytest

from tests.host.liar import Liar
from tests.host.test_faults import true_answer


def _openssl(where, *arguments):
    subprocess.run(["openssl", *arguments], cwd=where, check=True, capture_output=True)


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    """Two CAs, and certificates of the first for 127.0.0.1 and for another name."""
    where = tmp_path_factory.mktemp("pki")
    for ca in ("ca", "other"):
        _openssl(where, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                 "-subj", f"/CN={ca}", "-keyout", f"{ca}.key", "-out", f"{ca}.pem")  # fmt: skip
    for name, san in (("good", "IP:127.0.0.1"), ("wrong", "DNS:elsewhere.example.org")):
        _openssl(where, "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
                 "-keyout", f"{name}.key", "-out", f"{name}.csr")  # fmt: skip
        (where / f"{name}.ext").write_text(f"subjectAltName={san}\n")
        _openssl(where, "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
                 "-days", "2", "-extfile", f"{name}.ext", "-out", f"{name}.pem")  # fmt: skip
    return where


def _context(pki, name):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / f"{name}.pem", pki / f"{name}.key")
    return context


def _ask(helper, pki, *, certificate="good", ca="ca", tls=True, **more):
    with Liar(true_answer, _context(pki, certificate) if tls else None) as service:
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file=str(pki / f"{ca}.pem"), **more)
        ran = helper.ask()
    return ran.status, ran.out, len(service.questions)


def test_the_pinned_ca_and_the_right_name(helper, pki):
    assert _ask(helper, pki) == (0, b"alice@h1\n", 1)


def test_G_01_another_ca_is_refused_before_anything_is_said(helper, pki):
    assert _ask(helper, pki, ca="other") == (1, b"", 0)


def test_G_01_another_name_is_refused_before_anything_is_said(helper, pki):
    assert _ask(helper, pki, certificate="wrong") == (1, b"", 0)


def test_G_01_plain_http_behind_https_is_refused(helper, pki):
    # Who speaks plainly waits for the end of a line, which a greeting of TLS need not have.
    assert _ask(helper, pki, tls=False, timeout_seconds="1") == (1, b"", 0)


def test_the_system_store_does_not_know_our_ca(helper, pki):
    with Liar(true_answer, _context(pki, "good")) as service:
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file="system")
        ran = helper.ask()
    assert (ran.status, ran.out, service.questions) == (1, b"", [])


@pytest.mark.parametrize("mode", [0o664, 0o646])
def test_G_04_a_ca_file_that_others_can_write_is_refused(helper, pki, tmp_path, mode):
    """Whoever can write it can be the service."""
    ca = tmp_path / "ca.pem"
    ca.write_bytes((pki / "ca.pem").read_bytes())
    with Liar(true_answer, _context(pki, "good")) as service:
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file=str(ca))
        ca.chmod(0o644)
        assert helper.ask().out == b"alice@h1\n"
        ca.chmod(mode)
        ran = helper.ask()
    assert (ran.status, ran.out, len(service.questions)) == (1, b"", 1)


@pytest.mark.parametrize("content", ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "é"])
def test_G_01_a_ca_file_that_holds_no_ca_is_refused(helper, pki, tmp_path, content):
    ca = tmp_path / "ca.pem"
    ca.write_text(content)
    with Liar(true_answer, _context(pki, "good")) as service:
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file=str(ca))
        ran = helper.ask()
    assert (ran.status, ran.out, service.questions) == (1, b"", [])


def test_G_04_the_environment_cannot_add_a_ca(helper, pki, tmp_path):
    """OpenSSL itself would take SSL_CERT_FILE and OPENSSL_CONF for its system store."""
    (tmp_path / "openssl.cnf").write_text("openssl_conf = none-such\n")
    hostile = {"SSL_CERT_FILE": str(pki / "ca.pem"), "SSL_CERT_DIR": str(pki), "OPENSSL_CONF": str(tmp_path / "openssl.cnf"),
               "SSLKEYLOGFILE": str(tmp_path / "keys")}  # fmt: skip
    with Liar(true_answer, _context(pki, "good")) as service:
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file="system")
        ran = helper.ask(environment=hostile)
        assert (ran.status, ran.out, service.questions) == (1, b"", [])
        helper.configure(f"https://127.0.0.1:{service.port}", ca_file=str(pki / "ca.pem"))
        ran = helper.ask(environment=hostile)
    assert (ran.status, ran.out) == (0, b"alice@h1\n")
    assert not (tmp_path / "keys").exists()
