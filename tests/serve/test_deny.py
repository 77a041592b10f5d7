"""What the proxies' files keep from strangers, and whom they give what they are asked."""

import http.client
import shutil
import time

import pytest

from deploy.sandbox_sshd import free_port
from tests.replicas import pki
from tests.serve.proxies import DEPLOY, Proxy, Tls
from tests.ssh.service import Service

STRANGER, NEIGHBOUR = "127.0.0.2", "127.0.0.1"
KINDS = pytest.mark.parametrize("kind", ["nginx", "haproxy"])
KEPT = ["/metrics", "/readyz"]
SPELLINGS = [
    "/metrics?a=b", "/%6detrics", "/%6Detrics?a", "/metric%73", "/re%61dyz", "/%2e/metrics", "/./readyz", "//metrics",
    "/api/../metrics", "/api/%2e%2e/metrics", "/api/..%2fmetrics", "/%2fmetrics", "/metrics/", "/metrics%20",
    "/metrics%00", "/metrics#a", "/metrics;a", "/%256detrics", "/readyz%3fa", "/readyz%23a",
    "http://tms.example.org/metrics", "http://tms.example.org/%6detrics",
]  # fmt: skip


def asked(port: int, who: str, path: str, method: str = "GET") -> int:
    """Ask from the address `who` for exactly `path`; return the status."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60, source_address=(who, 0))
    try:
        connection.putrequest(method, "/", skip_host=True)
        connection._buffer[0] = f"{method} {path} HTTP/1.1".encode()  # it would refuse some of them itself
        connection.putheader("Host", "tms.example.org")
        connection.endheaders()
        return connection.getresponse().status
    finally:
        connection.close()


@pytest.fixture(scope="module")
def plain(initialised, tmp_path_factory):
    """Return a replica on this machine."""
    data = tmp_path_factory.mktemp("plain") / "data"
    shutil.copytree(initialised.data, data)
    with Service(data) as service:
        service.start()
        yield service


@KINDS
def test_strangers_are_shown_no_metrics_however_they_spell_it(plain, tmp_path, kind):
    with Proxy(kind, tmp_path / kind, free_port(), [int(plain.url.rpartition(":")[2])]) as proxy:
        assert {path: asked(proxy.port, NEIGHBOUR, path) for path in KEPT} == dict.fromkeys(KEPT, 200)
        assert asked(proxy.port, STRANGER, "/healthz") == asked(proxy.port, STRANGER, "/%68ealthz") == 200
        for method in ("GET", "HEAD"):
            assert {path: asked(proxy.port, STRANGER, path, method) for path in KEPT} == dict.fromkeys(KEPT, 403)
        assert asked(proxy.port, STRANGER, "/%6detrics") == 403
        answers = {path: asked(proxy.port, STRANGER, path) for path in SPELLINGS}
        assert {path: status for path, status in answers.items() if status not in {400, 403, 404}} == {}


@pytest.fixture(scope="module")
def secured(initialised, tmp_path_factory):
    """Return a replica that speaks TLS with a certificate of the CA `good`."""
    data = tmp_path_factory.mktemp("secured") / "data"
    shutil.copytree(initialised.data, data)
    pki.authority(data, "good")
    pki.authority(data, "wrong")
    pki.issued(data, "good", "tls", "DNS:tms.example.org")
    settings = data / "settings.toml"
    settings.write_text(
        settings.read_text().replace("[listen]", '[listen]\ntls_certificate = "tls.pem"\ntls_key = "tls.key"')
    )
    service = Service(data)
    service.wait_until_ready = lambda: None
    service.start()
    yield service
    service.stop()


@KINDS
@pytest.mark.parametrize(
    ("authority", "name", "statuses"),
    [
        ("good", "tms.example.org", {200}),
        ("wrong", "tms.example.org", {502, 503}),
        ("good", "b.example.org", {502, 503}),
    ],
)
def test_a_replica_on_another_machine_is_known_by_its_certificate(secured, tmp_path, kind, authority, name, statuses):
    tls = Tls(secured.data / f"{authority}.pem", name)
    with Proxy(kind, tmp_path / kind, free_port(), [int(secured.url.rpartition(":")[2])], tls) as proxy:
        assert asked(proxy.port, NEIGHBOUR, "/healthz") in statuses
        if (kind, statuses) == ("haproxy", {200}):
            time.sleep(0.6)  # it has looked twice, and would leave out a replica that it could not ask
            assert asked(proxy.port, NEIGHBOUR, "/healthz") == 200


def test_no_secret_crosses_a_network_in_clear_by_haproxys_file():
    """The twin of the replacement in proxies.py, where replicas on this machine are spoken to without TLS."""
    lines = [line.split() for line in (DEPLOY / "haproxy" / "tms-ca.cfg").read_text().splitlines()]
    servers = [line for line in lines if line[:1] == ["server"]]
    assert len(servers) == 2
    assert all(line[3:6] == ["ssl", "verify", "required"] for line in servers)
