"""The service as doctor sees it: its certificate, its clock, its speed, its silence."""

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path

import pytest

from tests.doctor.host import INSIDE, Host
from tests.doctor.test_well import NOTES
from tests.replicas.pki import _openssl, authority, issued
from tests.standin import Asked, Said, standing_in

HELPER_TOO = {"helper_fails"}  # the server below says nothing about certificates


@contextmanager
def answering(offset: float = 0, pause: float = 0, tls: Path | None = None, status: int = 200) -> Iterator[str]:
    """Answer every request with this status and a Date that is `offset` seconds off; yield the address."""
    context = None
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tls, tls.with_suffix(".key"))

    def answer(_: Asked) -> Said:
        time.sleep(pause)
        return Said(status, fields={"Date": formatdate(time.time() + offset, usegmt=True)})

    with standing_in(answer, context) as url:
        yield url


@pytest.mark.parametrize(
    ("offset", "codes", "said"),
    [
        (300, {"clock_off"}, "300 s behind"),
        (-300, {"clock_off"}, "300 s ahead of"),
        (-10, {"clock_drifts"}, "10 s ahead of"),
        (3, set(), ""),
        (-3, set(), ""),
    ],
)
def test_the_clocks_are_compared(host: Host, offset, codes, said):
    with answering(offset) as url:
        seen = host.doctor(f"conf url = {url}; conf timeout_seconds = 1")
    assert seen.codes - NOTES - HELPER_TOO == codes
    found = " ".join(finding["found"] for finding in seen.json["findings"] if finding["code"] in codes)
    # A second more or less: the header has whole ones, and the machine is busy.
    about = [said.replace(str(abs(offset)), str(abs(offset) + n)) for n in (-1, 0, 1)]
    assert any(one in found for one in about), found


def test_a_slow_service_is_named(host: Host):
    with answering(pause=1.2) as url:
        seen = host.doctor(f"conf url = {url}", times={("service", "SLOW_SECONDS"): 1.0})
        assert "service_slow" in seen.codes
        assert seen.json["seconds"] > 3


def test_a_service_that_says_503_is_not_there(host: Host):
    with answering(status=503) as url:
        assert "service_unreachable" in host.doctor(f"conf url = {url}").codes


def test_a_silent_service_holds_nothing_up(host: Host):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        seen = host.doctor(f"conf url = {url}; conf timeout_seconds = 1", times={("service", "SECONDS"): 1.0})
    assert "service_unreachable" in seen.codes, seen.out  # else "check_hung"


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Path:
    where = tmp_path_factory.mktemp("doctor-pki")
    for name in ("ca", "other"):
        authority(where, name)
    issued(where, "ca", "good", "IP:127.0.0.1")
    issued(where, "ca", "wrong", "DNS:elsewhere.example.org")
    _openssl(where, "x509", "-req", "-in", "good.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial",
             "-days", "60", "-extfile", "good.ext", "-out", "long.pem")  # fmt: skip
    (where / "long.key").write_bytes((where / "good.key").read_bytes())
    return where


@pytest.mark.parametrize(
    ("certificate", "ca", "codes"),
    [
        ("long", "ca", set()),
        ("good", "ca", {"tls_ends"}),  # it lives for two days
        ("long", "other", {"tls_refused"}),
        ("wrong", "ca", {"tls_refused"}),
    ],
)
def test_the_certificate_is_judged_as_the_helper_judges_it(host: Host, pki: Path, certificate, ca, codes):
    (host.directory / "ca.pem").write_bytes((pki / f"{ca}.pem").read_bytes())
    with answering(tls=pki / f"{certificate}.pem") as url:
        change = f"conf url = {url}; conf ca_file = {INSIDE}/ca.pem; conf timeout_seconds = 1"
        seen = host.doctor(change)
    assert seen.codes - NOTES - HELPER_TOO == codes, seen.out


def test_one_address_of_two_with_a_wrong_certificate_is_an_error_all_the_same(host: Host, pki: Path):
    (host.directory / "ca.pem").write_bytes((pki / "ca.pem").read_bytes())
    with answering(tls=pki / "long.pem") as good, answering(tls=pki / "wrong.pem") as wrong:
        both = f"{wrong} {good}"
        seen = host.doctor(f"conf url = {both}; conf ca_file = {INSIDE}/ca.pem; conf timeout_seconds = 1")
    assert wrong in seen.one("tls_refused")["found"]
