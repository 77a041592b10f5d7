"""A real Prometheus on loopback, with the rules of deploy/."""

import json
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.sandbox_sshd import free_port

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "tms-ca.rules.yml"
CONFIG = """\
global: {{scrape_interval: 2s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: tms-ca
    scrape_timeout: 2s
    static_configs: [{{targets: {targets}}}]
"""


@dataclass(frozen=True)
class Prometheus:
    url: str

    def api(self, path: str, **query: str) -> Any:
        whole = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}"
        with urllib.request.urlopen(whole, timeout=60) as answer:
            return json.load(answer)["data"]

    def ask(self, expression: str) -> list[dict[str, Any]]:
        """Return the series of an instant query; those that are not a number say nothing."""
        return [one for one in self.api("query", query=expression)["result"] if one["value"][1] != "NaN"]

    def alerts(self) -> Mapping[str, str]:
        """Return the state of each alert that is pending or firing."""
        return {one["labels"]["alertname"]: one["state"] for one in self.api("alerts")["alerts"]}


def wait(what: Any, seconds: float = 180.0) -> Any:
    """Return what `what` returns once it is true."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, f"not true after {seconds} s"
        time.sleep(0.2)
    return found


@contextmanager
def prometheus(directory: Path, services: list[str]) -> Iterator[Prometheus]:
    """Run it, scraping `services` (URLs) each second."""
    port = free_port()
    targets = json.dumps([urllib.parse.urlsplit(url).netloc for url in services])
    (directory / "prometheus.yml").write_text(CONFIG.format(rules=json.dumps(str(RULES)), targets=targets))
    command = ["prometheus", f"--config.file={directory}/prometheus.yml", f"--storage.tsdb.path={directory}/tsdb"]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=subprocess.STDOUT
        )
    running = Prometheus(f"http://127.0.0.1:{port}")

    def ready() -> bool:
        assert process.poll() is None, (directory / "prometheus.log").read_text()[-2000:]
        try:
            urllib.request.urlopen(running.url + "/-/ready", timeout=2).close()
        except OSError:
            return False
        return True

    try:
        wait(ready)
        yield running
    finally:
        process.kill()
        process.wait(60)
