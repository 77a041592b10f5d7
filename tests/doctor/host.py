"""A host of its own in mount, name and process namespaces, well in every respect until a test changes one thing."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.host.sshd import Authority, keygen
from tests.patient import LIBRARY, compile_, set_time, stage_patiently

ROOT = Path(__file__).parents[2]
INSIDE = "/run/t"
STATE, RUN = f"{INSIDE}/state", f"{INSIDE}/run"
HELPER_UID, FIRST_UID = 64990, 59990
NAME = "login1.example.org"
OLD_PYTHON = Path.home() / ".pyenv/versions/3.6.15/bin/python"
UNSHARE = ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--propagation", "private"]
SSHD = f"""\
Include {INSIDE}/first.conf
Port 2222
HostKey {INSIDE}/host_key
HostCertificate {STATE}/host-certs/host_key-cert.pub
PidFile none
UsePAM no
AuthorizedKeysFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
TrustedUserCAKeys {STATE}/user_ca.pub
RevokedKeys {STATE}/krl
AuthorizedPrincipalsCommand {INSIDE}/usr/libexec/tms/tms-principals --config {INSIDE}/host.conf %u %t %k
AuthorizedPrincipalsCommandUser tms-host
CASignatureAlgorithms ssh-ed25519
LogLevel VERBOSE
MaxStartups 100:30:300
"""
PEOPLE = (
    ("tms-host", HELPER_UID, "/nonexistent", "/usr/sbin/nologin"),
    ("other", HELPER_UID + 1, "/nonexistent", "/usr/sbin/nologin"),
    ("alice", FIRST_UID, f"{INSIDE}/home/alice", "/bin/sh"),
)
# What tms-hostd answers on its socket, said by a process in the same namespaces.
_DAEMON = f"""
import os, socket
server = socket.socket(socket.AF_UNIX)
server.bind("{RUN}/ask.sock")
os.chmod("{RUN}/ask.sock", 0o600)
os.chown("{RUN}/ask.sock", {HELPER_UID}, {HELPER_UID})
server.listen(8)
if os.fork():
    os._exit(0)
while True:
    connection = server.accept()[0]
    asked = connection.recv(65536)
    connection.sendall(open("{INSIDE}/daemon.txt", "rb").read() if asked == b"status\\n" else b"no not_here\\n")
    connection.close()
"""

# What a test's change is made of: `first LINE` wins over the lines of sshd_config (but for
# some keywords, where a bug of sshd 9.2 lets the last one win: `only LINE`), `last LINE` comes after them, `conf
# KEY = VALUE` replaces a line of host.conf, `edit FILE SCRIPT` is sed on a file that is mounted, `in_place_of FILE` puts what it reads over a file of the machine.
_WORDS = """
first() { printf '%s\\n' "$*" >>first.conf; }
last() { printf '%s\\n' "$*" >>sshd_config; }
conf() { sed -i "/^$1 /d" host.conf; printf '%s\\n' "$*" >>host.conf; }
only() { without "$1"; first "$@"; }
edit() { sed "$2" "$1" >/run/edited; cat /run/edited >"$1"; }
without() { sed -i "/^$1 /d" sshd_config; }
in_place_of() { cat >/run/over-$$; chmod 755 /run/over-$$; mount --bind /run/over-$$ "$1"; }
"""


@dataclass
class Seen:
    """What doctor said."""

    status: int
    out: str
    json: dict

    @property
    def codes(self) -> set[str]:
        return {finding["code"] for finding in self.json["findings"]}

    def one(self, code: str) -> dict:
        found = [finding for finding in self.json["findings"] if finding["code"] == code]
        assert len(found) == 1, (code, self.out)
        return found[0]


@dataclass
class Host:
    """The files of a host that is well; `doctor` shows them to it, after a change."""

    directory: Path
    library: Path  # outside of it: doctor, as it runs here
    conf: dict[str, str] = field(default_factory=dict)

    def build(self, url: str, token: str) -> None:
        top = self.directory
        for name in ("state/host-certs", "run", "home/alice", "keys"):
            (top / name).mkdir(parents=True)
        stage_patiently(top / "usr", f"{INSIDE}/usr")
        shutil.copytree(top / "usr" / LIBRARY, self.library)
        compile_(self.library, _python())  # it runs without leaving anything behind
        self.user_ca = Authority(top / "keys", "user_ca")
        self.host_ca = Authority(top / "keys", "host_ca")
        keygen("-t", "ed25519", "-N", "", "-C", "", "-f", top / "host_key")
        self.certify("+30d", f"{NAME},login1")
        state = top / "state"
        (state / "user_ca.pub").write_text(self.user_ca.lines)
        (state / "host_ca.pub").write_text(self.host_ca.lines)
        keygen("-k", "-f", state / "krl", "-z", "7")
        self.sign()
        self.conf = {
            "url": url, "tenant": "default", "host": "h1", "token_file": f"{INSIDE}/token",
            "timeout_seconds": "20", "state_dir": STATE, "run_dir": RUN,
        }  # fmt: skip
        (top / "token").write_text(token + "\n")
        (top / "sshd_config").write_text(SSHD)
        (top / "first.conf").write_text("")
        (top / "host.conf").write_text("".join(f"{key} = {value}\n" for key, value in self.conf.items()))
        (top / "daemon.txt").write_text('json\n{"host":"h1","service_error":""}\n')
        (top / "daemon.py").write_text(_DAEMON)

    def certify(self, validity: str, names: str, *options: str) -> None:
        """Make the host's certificate; `options` -h makes it a host's."""
        made = self.directory / "host_key-cert.pub"
        keygen("-s", self.host_ca.key, "-I", "h1", "-n", names, "-V", validity, "-z", "9",
               *(options or ("-h",)), self.directory / "host_key.pub")  # fmt: skip
        made.replace(self.directory / "state/host-certs/host_key-cert.pub")

    def sign(self, ends: float = 86400, **changed: object) -> None:
        """Write trust.json, signed by the host CA; it ends in so many seconds."""
        stamp = "%Y-%m-%dT%H:%M:%SZ"
        krl = (self.directory / "state/krl").read_bytes()
        fields = {
            "epoch": "5", "type": "tms-ca-trust/1", "tenant": "default",
            "issued_at": time.strftime(stamp, time.gmtime(time.time() + min(ends, 600) - 600)),
            "expires_at": time.strftime(stamp, time.gmtime(time.time() + ends)),
            "krl": {"bytes": len(krl), "sha256": hashlib.sha256(krl).hexdigest(), "version": "7"},
            "user_ca_keys": [" ".join(self.user_ca.lines.split()[:2])],
            "host_ca_keys": [" ".join(self.host_ca.lines.split()[:2])],
            **changed,
        }  # fmt: skip
        text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
        signed = subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-f", self.host_ca.key, "-n", "trust@tms-ca", "-"],
            input=text, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        (self.directory / "state/trust.json").write_text(json.dumps({"bundle": text, "signature": signed}))

    def doctor(self, change: str = "", *arguments: str, account: str | None = "alice", text: bool = False,
               times: dict[tuple[str, str], float] | None = None) -> Seen:  # fmt: skip
        """Lay the host out, run the shell lines of `change` in it, and ask doctor, which may wait for these times."""
        library = self.library
        if times:
            library = Path(shutil.copytree(library, self.directory.parent / "timed"))
            for (module, name), seconds in times.items():
                set_time(library, f"keycmd/doctor/{module}.py", name, seconds)
        command = [_python(), "-B", "-m", "keycmd.doctor.main", "--config", f"{INSIDE}/host.conf",
                   "--sshd-config", f"{INSIDE}/sshd_config", *([] if text else ["--json"]),
                   *(["--account", account] if account else []), *arguments]  # fmt: skip
        done = subprocess.run(
            [*UNSHARE, "/bin/sh", "-euc", self._script(change, library), "sh", *map(str, command)], cwd=ROOT,
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=300,
        )  # fmt: skip
        assert done.returncode in (0, 1, 2), done.stderr
        assert text or done.stdout.startswith("{"), done.stdout + done.stderr
        return Seen(done.returncode, done.stdout + done.stderr, {} if text else json.loads(done.stdout))

    def _script(self, change: str, library: Path) -> str:
        lines = [
            "umask 022", "mount -t proc proc /proc", "mount -t tmpfs -o mode=755 tmpfs /run", "mkdir /run/sshd",
            f"cp -a {self.directory} {INSIDE}", "mkdir /run/etc", "cp -p /etc/passwd /etc/shadow /etc/group /run/etc/",
            f"echo '127.0.0.1 localhost' >/run/etc/hosts; echo '127.0.1.1 {NAME} login1' >>/run/etc/hosts",
            "hostname login1", f"chown -R 0:0 {INSIDE}",
            # Whoever has the uid of the first person on this machine is not one of ours.
            "sed -i '/^[^:]*:[^:]*:[1-9][0-9][0-9][0-9]:/d' /run/etc/passwd",
        ]  # fmt: skip
        for name, uid, home, shell in PEOPLE:
            lines += [f"echo '{name}:x:{uid}:{uid}::{home}:{shell}' >>/run/etc/passwd",
                      f"echo '{name}:*:19000:0:99999:7:::' >>/run/etc/shadow",
                      f"echo '{name}:x:{uid}:' >>/run/etc/group"]  # fmt: skip
        lines += [f"mount --bind /run/etc/{name} /etc/{name}" for name in ("passwd", "shadow", "group", "hosts")]
        lines += [
            f"chown {FIRST_UID}:{FIRST_UID} {INSIDE}/home/alice", f"chmod 755 {INSIDE} {INSIDE}/home {RUN} {STATE}",
            f"chown -R {HELPER_UID}:{HELPER_UID} {STATE} {RUN} {INSIDE}/token", f"chmod 400 {INSIDE}/token",
            "cp /etc/pam.d/sshd /run/pam; mount --bind /run/pam /etc/pam.d/sshd",
            f"{sys.executable} -I {INSIDE}/daemon.py", f"cd {INSIDE}", _WORDS, change, f"cd {library}", 'exec "$@"',
        ]  # fmt: skip
        return "\n".join(lines)


def _python() -> str:
    """The oldest Python there is here: doctor runs wherever the helper does."""
    return str(OLD_PYTHON) if OLD_PYTHON.exists() else sys.executable


def need_root() -> None:
    """Skip where this account cannot have a host of its own."""
    if os.geteuid() != 0 or subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode:
        pytest.skip("doctor is for root, in namespaces of its own here")
