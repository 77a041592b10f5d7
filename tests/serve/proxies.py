"""nginx and HAProxy in front of replicas, with the configurations out of deploy/."""

import re
import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

DEPLOY = Path(__file__).parents[2] / "deploy"
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


def nginx(at: Path, port: int, replicas: list[int]) -> list[str]:
    """Write what nginx needs; return the command. All that differs from deploy/ are addresses and TLS."""
    text = (DEPLOY / "nginx" / "tms-ca.conf").read_text()
    (line,) = re.findall(r"    server 127\.0\.0\.1:8443.*\n", text)
    text = text.replace(line, "".join(line.replace("8443", str(one)) for one in replicas))
    (redirect,) = re.findall(r"server \{\n    listen 80;.*?\n\}\n", text, re.DOTALL)
    text = text.replace(redirect, "")
    text = re.sub(r"    (listen \[|ssl_).*\n", "", text)
    text = text.replace("listen 443 ssl;", f"listen 127.0.0.1:{port};")
    (at / "tms-ca.conf").write_text(text)
    (at / "nginx.conf").write_text(NGINX.format(at=at))
    return ["nginx", "-p", str(at), "-e", str(at / "nginx.log"), "-c", str(at / "nginx.conf")]


def haproxy(at: Path, port: int, replicas: list[int]) -> list[str]:
    """Write what HAProxy needs; return the command. All that differs from deploy/ are addresses and TLS."""
    text = (DEPLOY / "haproxy" / "tms-ca.cfg").read_text()
    text = re.sub(r"bind :443 .*", f"bind 127.0.0.1:{port}", text)
    text = re.sub(r"    server one .*\n    server two .*\n",
                  "".join(f"    server r{one} 127.0.0.1:{one}\n" for one in replicas), text)  # fmt: skip
    assert "10.0.0." not in text
    (at / "haproxy.cfg").write_text(text)
    return ["haproxy", "-db", "-f", str(at / "haproxy.cfg")]


KINDS = {"nginx": nginx, "haproxy": haproxy}


class Proxy:
    """One of them, running while in use."""

    def __init__(self, kind: str, at: Path, port: int, replicas: list[int]) -> None:
        at.mkdir()
        self.port = port
        self._at = at
        self._command = KINDS[kind](at, port, replicas)

    def __enter__(self) -> Self:
        program = shutil.which(self._command[0], path="/usr/sbin:/usr/bin")
        assert program, f"{self._command[0]} is missing: sh deploy/debian-packages.sh test"
        with open(self._at / "output", "wb") as output:
            self._process = subprocess.Popen([program, *self._command[1:]], stdout=output, stderr=output)
        until = time.monotonic() + 10
        while not _listening(self.port):
            assert time.monotonic() < until, (self._at / "output").read_text()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(10)


def _listening(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0
