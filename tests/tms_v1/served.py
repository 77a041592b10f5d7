"""`tms-ca serve` as a process that speaks the wire of TMS 0.3, and calls from outside."""

import json
import re
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.postgres import memory
from tests.ssh.service import Service


@dataclass
class Served:
    """A running service, and headers of an administrator of the tenant `default`."""

    service: Service
    admin: dict[str, str] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.service.url

    def call(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> tuple[int, dict[str, Any]]:
        """Call /v1/tms/PATH; return status and members."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/v1/tms/{path}", data, headers, method=method)
        request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)

    def good(self, method: str, path: str, headers: dict[str, str], body: Any = None) -> dict[str, Any]:
        """Call, and insist on a yes."""
        status, said = self.call(method, path, headers, body)
        assert status < 300, (method, path, status, said)
        assert said["result_code"] == "0"
        return said


@contextmanager
def served(initialised: Service, **set_: str) -> Iterator[Served]:
    """Serve a copy of `initialised`, where no disk delays it; settings of [tms_v1] as TOML."""
    with tempfile.TemporaryDirectory(prefix="tms-world-", dir=memory(), ignore_cleanup_errors=True) as directory:
        data = Path(shutil.copytree(initialised.data, Path(directory) / "data"))
        _set(data / "settings.toml", set_)
        with Service(data, operator=initialised.operator) as service:
            service.start()
            made = service.good("POST", "admins", service.operator, {"admin_id": "~~admin"})
            headers = {"X-TMS-TENANT": "default", "X-TMS-ADMIN-ID": "~~admin", "X-TMS-ADMIN-SECRET": made["secret"]}
            yield Served(service, headers)


def _set(settings: Path, set_: dict[str, str]) -> None:
    text = settings.read_text()
    for name, value in {"enabled": "true", **set_}.items():
        text, count = re.subn(rf"^# {name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1, name
    settings.write_text(text)
