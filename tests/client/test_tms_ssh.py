"""`tms ssh` and `tms cert` at the door of a real sshd that trusts what `tms-ca ca export` and `krl write` give."""

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from deploy.sandbox_sshd import free_port
from tests.client.conftest import Machines, Terminal

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
pytestmark = pytest.mark.skipif(not Path(SSHD).exists() and "CI" not in os.environ, reason="no sshd on this machine")
ME = getpass.getuser()
STRANGERS = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR", "BatchMode=yes")


@dataclass(frozen=True)
class Door:
    port: int
    krl: Path

    @property
    def options(self) -> list[str]:
        """What reaches this sshd as host h1."""
        return [
            "--address",
            "127.0.0.1",
            "--port",
            str(self.port),
            *(word for one in STRANGERS for word in ("-o", one)),
        ]


@pytest.fixture
def door(machines: Machines, tmp_path: Path) -> Iterator[Door]:
    operator = machines.running.operator
    (tmp_path / "ca.pub").write_text(operator("ca", "export").out)
    (tmp_path / "principals").write_text(f"{ME}@h1\n")
    operator("krl", "write", tmp_path / "krl")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "host"], check=True)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = free_port()
    (tmp_path / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {tmp_path}/host\nPidFile none\nUsePAM no\nStrictModes no\n"
        f"PermitRootLogin yes\nAuthenticationMethods publickey\nAuthorizedKeysFile none\n"
        f"TrustedUserCAKeys {tmp_path}/ca.pub\nAuthorizedPrincipalsFile {tmp_path}/principals\nRevokedKeys {tmp_path}/krl\n"
    )
    with (tmp_path / "sshd.log").open("wb") as log:
        served = subprocess.Popen([SSHD, "-D", "-e", "-f", tmp_path / "sshd_config"], stderr=log)
    until = time.monotonic() + 60
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 60):
            break
        assert served.poll() is None, (tmp_path / "sshd.log").read_text()
        assert time.monotonic() < until
        time.sleep(0.02)
    yield Door(port, tmp_path / "krl")
    served.terminate()
    served.wait(60)


def _delegated(machines: Machines, user: str) -> tuple[Terminal, Terminal, str]:
    person, portal = machines.person("laptop"), machines.application()
    machines.running.user(user, account=ME)
    person.log_in(user)
    asked = portal("delegate", user, f"{ME}@h1", "--for", "8h", "--purpose", "nightly run").field("id")
    person("approve", asked)
    return person, portal, asked


def test_ssh_opens_a_session_until_the_user_revokes(machines: Machines, door: Door):
    person, portal, delegation = _delegated(machines, "olga")
    done = portal("ssh", "olga", f"{ME}@h1", *door.options, "--", "echo", "as $(id -un)", "--", "done")
    assert done.out == f"as {ME} -- done\n"
    assert portal("ssh", "olga", f"{ME}@h1", *door.options, "--", "exit 7", code=7).out == ""
    person("revoke", delegation)
    refused = portal("ssh", "olga", f"{ME}@h1", *door.options, "--", "true", code=1)
    assert "(delegation_revoked)" in refused.err


def test_a_certificate_opens_the_door_until_the_krl_lists_it(machines: Machines, door: Door):
    _, portal, _ = _delegated(machines, "peggy")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", portal.home / "id"], check=True)
    serial = portal("cert", "peggy", f"{ME}@h1", "--key", "id.pub").field("serial")
    ssh = ["ssh", "-i", portal.home / "id", "-o", "IdentitiesOnly=yes", "-p", str(door.port), "-l", ME]
    ssh += [word for one in STRANGERS for word in ("-o", one)]
    ssh += ["127.0.0.1", "id -un"]
    first = subprocess.run(ssh, capture_output=True, text=True, timeout=300)
    assert (first.returncode, first.stdout) == (0, f"{ME}\n"), first.stderr
    operator = machines.running.operator
    operator("revocations", "create", "--serial", serial, "--reason", "test")
    operator("krl", "write", door.krl)
    second = subprocess.run(ssh, capture_output=True, text=True, timeout=300)
    assert (second.returncode, second.stdout) == (255, "")
    assert "Permission denied" in second.stderr
