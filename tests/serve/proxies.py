"""nginx and HAProxy in front of replicas, with the configurations out of deploy/."""

import re
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

DEPLOY = Path(__file__).parents[2] / "deploy"
SYSTEMS_CAS = "/etc/ssl/certs/ca-certificates.crt"
NGINX = """
daemon off; pid {at}/nginx.pid; error_log {at}/nginx.log; worker_processes 1;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {at}/b; proxy_temp_path {at}/p; fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u;
    scgi_temp_path {at}/s;
    include {at}/tms-ca.conf;
}}
"""


@dataclass(frozen=True)
class Tls:
    """How the replicas are spoken to: the file with the CA of their certificates, and the name in these."""

    authority: Path
    name: str = "tms.example.org"


def nginx(at: Path, port: int, replicas: list[int], tls: Tls | None) -> list[str]:
    """Write what nginx needs; return the command. All that differs from deploy/ are addresses and TLS of its own."""
    text = (DEPLOY / "nginx" / "tms-ca.conf").read_text()
    if tls:
        text = text.replace("proxy_pass http:", "proxy_pass https:").replace("# proxy_ssl_", "proxy_ssl_")
        text = text.replace(SYSTEMS_CAS, str(tls.authority)).replace("ssl_name tms.example.org", f"ssl_name {tls.name}")
    (line,) = re.findall(r"    server 127\.0\.0\.1:8443.*\n", text)
    text = text.replace(line, "".join(line.replace("8443", str(one)) for one in replicas))
    (redirect,) = re.findall(r"server \{\n    listen 80;.*?\n\}\n", text, re.DOTALL)
    text = text.replace(redirect, "")
    text = re.sub(r"    (listen \[|ssl_).*\n", "", text)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    (at / "tms-ca.conf").write_text(text)
    (at / "nginx.conf").write_text(NGINX.format(at=at))
    return ["nginx", "-p", str(at), "-e", str(at / "nginx.log"), "-c", str(at / "nginx.conf")]


def haproxy(at: Path, port: int, replicas: list[int], tls: Tls | None) -> list[str]:
    """Write what HAProxy needs; return the command. All that differs from deploy/ are addresses and TLS."""
    text = (DEPLOY / "haproxy" / "tms-ca.cfg").read_text()
    text = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", text)
    (lines,) = re.findall(r"(?:    server .*\n)+", text)
    _, _, how = lines.splitlines()[0].partition(":8443 ")
    how = how.replace(SYSTEMS_CAS, str(tls.authority)).replace("tms.example.org", tls.name) if tls else ""
    text = text.replace(lines, "".join(f"    server r{one} 127.0.0.1:{one} {how}\n" for one in replicas))
    assert "10.0.0." not in text
    (at / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", str(at / "haproxy.cfg")]


KINDS = {"nginx": nginx, "haproxy": haproxy}


class Proxy:
    """One of them, running while in use."""

    def __init__(self, kind: str, at: Path, port: int, replicas: list[int], tls: Tls | None = None) -> None:
        at.mkdir()
        self.port = port
        self._at = at
        self._command = KINDS[kind](at, port, replicas, tls)

    def __enter__(self) -> Self:
        program = shutil.which(self._command[0], path="/usr/sbin:/usr/bin")
        assert program, f"{self._command[0]} is missing: sh deploy/debian-packages.sh test"
        with open(self._at / "output", "wb") as output:
            self._process = subprocess.Popen([program, *self._command[1:]], stdout=output, stderr=output)
        until = time.monotonic() + 60
        while not _listening(self.port):
            assert self._process.poll() is None, (self._at / "output").read_text()  # else it would be another's port
            assert time.monotonic() < until, (self._at / "output").read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)


def _listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
