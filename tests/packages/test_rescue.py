"""The way in that docs/hosts.md gives the administrator, with the service gone: exactly as it stands on the page."""

import re
import shutil
import subprocess
import time

import pytest

from deploy.build_host import ROOT
from deploy.sandbox_sshd import free_port
from tests.packages.conftest import VERSION

PAGE = (ROOT / "docs/hosts.md").read_text()
(BLOCK,) = re.findall(r"^```text\n(Match User rescue .*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
HOST = """
useradd -m -s /bin/sh rescue; useradd -m -s /bin/sh alice; ssh-keygen -A >/dev/null
install -m 644 "$1" /etc/ssh/rescue_keys; install -m 644 /dev/null /etc/ssh/rescue_krl
install -d -o alice -g alice -m 700 ~alice/.ssh; install -o alice -g alice -m 600 "$1" ~alice/.ssh/authorized_keys
cp /usr/share/tms-host/50-tms.conf /etc/ssh/sshd_config.d/50-tms.conf
cp /etc/ssh/ssh_host_ed25519_key.pub /var/lib/tms-host/user_ca.pub
ssh-keygen -q -k -f /var/lib/tms-host/krl
"""


@pytest.mark.parametrize("krl", ["keep", "refuse"])
def test_G_10_the_way_in_for_the_administrator_works(packages, machine, tmp_path, krl):
    """With the KRL that is kept, and with the one that lets nobody in; from elsewhere, and for others, it does not."""
    if shutil.which("sshd", path="/usr/sbin") is None:
        pytest.skip("sshd is missing: deploy/debian-packages.sh sshd")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    machine.run('dpkg -i "$1"', machine.put(packages / f"tms-host_{VERSION}_all.deb"))
    machine.run(HOST, machine.put(tmp_path / "key.pub"))
    if krl == "refuse":
        machine.run("echo none >/var/lib/tms-host/krl")
    (tmp_path / "90-rescue.conf").write_text(BLOCK)
    machine.run('cp "$1" /etc/ssh/sshd_config.d/90-rescue.conf', machine.put(tmp_path / "90-rescue.conf"))

    def login(account: str) -> bool:
        port = free_port()
        log = tmp_path / f"sshd-{port}.log"
        machine.spawn(
            log, "/usr/sbin/sshd", "-D", "-e", "-p", str(port), "-o", "ListenAddress=127.0.0.1", "-o", "PidFile=none"
        )
        deadline = time.monotonic() + 60
        while f"port {port}" not in log.read_text():
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        options = [
            "BatchMode=yes",
            "IdentitiesOnly=yes",
            "IdentityAgent=none",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
        ]
        flags = [word for option in options for word in ("-o", option)]
        command = ["ssh", "-F", "none", "-p", str(port), "-i", key, *flags, f"{account}@127.0.0.1", "id -un"]
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0 or "Permission denied" in done.stderr, done.stderr + log.read_text()
        return done.stdout == f"{account}\n"

    assert not login("rescue")  # from 127.0.0.1, which is no address of the page's network
    machine.run("sed -i s,10.1.0.0/24,127.0.0.0/8, /etc/ssh/sshd_config.d/90-rescue.conf")
    assert login("rescue")
    assert login("alice") is (krl == "keep")  # a plain key of her own needs the KRL to be loadable
