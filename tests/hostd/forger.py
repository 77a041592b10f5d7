"""A service's trust bundle and KRL as a test wants them, signed by ssh-keygen with whatever key, over real HTTP."""

import hashlib
import json
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.standin import Asked, Said, standing_in

TRUST, KRL = "/api/v1/tenants/default/trust", "/api/v1/tenants/default/krl"
REPORTS = "/api/v1/tenants/default/hosts/h1/reports"


def stamp(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


@dataclass
class Forger:
    """Makes keys, KRLs and bundles; `answers` is what its HTTP server says, by path."""

    directory: Path
    answers: dict[str, tuple[int, bytes] | Callable[[], tuple[int, bytes]]] = field(default_factory=dict)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)  # method, path, body

    def __enter__(self) -> Self:
        self._running = standing_in(self._said)
        self.url = self._running.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._running.__exit__(None, None, None)

    def _said(self, asked: Asked) -> Said:
        self.asked.append((asked.method, asked.path, asked.body))
        answer = self.answers.get(asked.path, (404, b"{}"))
        status, content = answer() if callable(answer) else answer
        return Said(status, content, {"Content-Type": "application/json"})

    def key(self, name: str) -> str:
        """Return the public key `TYPE BASE64` of this name; it is made when it is first asked for."""
        path = self.directory / name
        if not path.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
        return path.with_name(name + ".pub").read_text().strip()

    def krl(self, version: int, *serials: int) -> bytes:
        """Return a KRL that lists these serials of the key `user`."""
        self.key("user")
        path, what = self.directory / "made.krl", self.directory / "serials"
        what.write_text("".join(f"serial: {serial}\n" for serial in serials))
        command = ["ssh-keygen", "-q", "-k", "-f", path, "-z", str(version), "-s", self.directory / "user.pub", what]
        subprocess.run(command, check=True)
        return path.read_bytes()

    def text(self, krl: bytes, version: int, **changes: object) -> str:
        """Return a bundle's text; `changes` replace fields, None removes one."""
        now = time.time()
        fields = {
            "epoch": str(version), "expires_at": stamp(now + 600), "host_ca_keys": [self.key("host")],
            "issued_at": stamp(now), "tenant": "default", "type": "tms-ca-trust/1", "user_ca_keys": [self.key("user")],
            "krl": {"bytes": len(krl), "sha256": hashlib.sha256(krl).hexdigest(), "version": str(version)}, **changes,
        }  # fmt: skip
        fields = {name: value for name, value in fields.items() if value is not None}
        return json.dumps(fields, sort_keys=True, separators=(",", ":"))

    def sign(self, text: str, signer: str = "host", namespace: str = "trust@tms-ca") -> str:
        self.key(signer)
        command = ["ssh-keygen", "-q", "-Y", "sign", "-n", namespace, "-f", self.directory / signer]
        return subprocess.run(command, input=text.encode(), capture_output=True, check=True).stdout.decode()

    def say(
        self, krl: bytes, version: int, signer: str = "host", namespace: str = "trust@tms-ca", **changes: object
    ) -> None:
        """Answer with this KRL and a bundle that names it."""
        text = self.text(krl, version, **changes)
        self.answer(text, self.sign(text, signer, namespace), krl)

    def answer(self, text: str, signature: str, krl: bytes) -> None:
        self.answers[TRUST] = (200, json.dumps({"bundle": text, "signature": signature}).encode())
        self.answers[KRL] = (200, krl)

    def joined(self, state: Path) -> None:
        """Write the files of a join that pinned the key `host`, with KRL version 5."""
        (state / "host-certs").mkdir(parents=True, exist_ok=True)
        krl = self.krl(5, 1000)
        text = self.text(krl, 5, issued_at=stamp(time.time() - 60))
        bundle = {"bundle": text, "signature": self.sign(text)}
        for name, content in {
            "krl": krl, "user_ca.pub": self.key("user").encode() + b"\n", "host_ca.pub": self.key("host").encode() + b"\n",
            "trust.json": json.dumps(bundle).encode(),
        }.items():  # fmt: skip
            (state / name).write_bytes(content)
