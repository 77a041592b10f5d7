"""Start a real sshd that trusts a CA and asks the helper, without touching the machine: for the demo and the tests.

As root, sshd runs in mount and process namespaces of its own: copies of /etc/passwd, /etc/shadow and /etc/group with
two more accounts lie over the real ones, and /run is a tmpfs that holds the helper, its credential and the account's
home. When the process ends, all of it is gone. As an ordinary user, sshd runs as that user on a high port and
lets in that user.

Use: `with SandboxSshd(workdir, ca_keys=..., helper=HelperFiles(...)) as sshd: sshd.ssh(key, certificate, "id")`.
"""

import contextlib
import functools
import getpass
import itertools
import os
import random
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

HELPER_ACCOUNT = "tms-helper"
_HELPER_UID, _FIRST_UID = 64990, 64991
_INSIDE = Path("/run/tms")  # where the namespace keeps its files
_START_SECONDS = 60
_BLOCK = 250  # ports that one process has to itself


@dataclass
class HelperFiles:
    """What the helper needs, and what its configuration says."""

    program: Path | None  # a tms-principals that lies where sshd's accounts can read it; None installs one
    url: str
    tenant: str
    host: str
    token: str
    ca_pem: str | None = None
    timeout_seconds: float = 5.0


@dataclass
class SandboxSshd:
    """A real sshd on a loopback port."""

    workdir: Path
    ca_keys: str  # lines for TrustedUserCAKeys
    helper: HelperFiles | None = None
    accounts: tuple[str, ...] = ("alice",)  # as root; an ordinary user has only their own
    extra: str = ""  # more lines of sshd_config
    revoked_keys: Path | None = None
    port: int = 0
    _process: "subprocess.Popen[bytes] | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self.workdir = self.workdir.resolve()
        self.root = os.geteuid() == 0
        self.account = self.accounts[0] if self.root else getpass.getuser()
        self._log = self.workdir / "sshd.log"

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """What sshd has logged."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def start(self) -> None:
        """Write the files and start sshd; return once it listens."""
        self.workdir.mkdir(parents=True, exist_ok=True)
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
        if sshd is None:
            raise RuntimeError("sshd is not installed: apt-get install openssh-server")
        if not (self.workdir / "host_key").exists():
            keygen = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.workdir / "host_key"]
            subprocess.run(keygen, check=True)
        (self.workdir / "ca.pub").write_text(self.ca_keys)
        self.port = self.port or free_port()
        host_key = (self.workdir / "host_key.pub").read_text().strip()
        # Here and not at each login: logins run side by side.
        (self.workdir / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {host_key}\n")
        config = self.workdir / "sshd_config"
        config.write_text(self._config(sshd))
        self._log.touch()
        if self.helper is not None:
            self._write_helper(self.helper)
        command = [sshd, "-D", "-e", "-f", str(config)]
        if self.root:
            command = self._in_namespace(command)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self._wait()

    def stop(self) -> None:
        """End sshd and everything in its namespaces."""
        process, self._process = self._process, None
        if process is None:
            return
        # As root, `process` is unshare, which ignores SIGTERM; sshd is its child and the first process of its
        # namespace: unshare returns once the kernel has ended everything in there.
        if process.poll() is None:  # else its number may be another's by now
            os.kill(_only_child(process.pid) if self.root else process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(20)

    def ssh(
        self,
        key: Path,
        certificate: Path | None,
        *command: str,
        account: str | None = None,
        options: tuple[str, ...] = (),
        timeout: float = 300,
    ) -> "subprocess.CompletedProcess[str]":
        """Run `command` over a real ssh; nothing of the user's own ssh configuration takes part."""
        return subprocess.run(
            self.ssh_command(key, certificate, *command, account=account, options=options),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def ssh_command(
        self,
        key: Path,
        certificate: Path | None,
        *command: str,
        account: str | None = None,
        options: tuple[str, ...] = (),
    ) -> list[str]:
        """Return the command line that `ssh` runs."""
        settings = [
            "BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes",
            f"UserKnownHostsFile={self.workdir / 'known_hosts'}", "GlobalKnownHostsFile=none",
            "ConnectTimeout=60", "LogLevel=ERROR",
        ]  # fmt: skip
        if certificate is not None:
            settings.append(f"CertificateFile={certificate}")
        flags = [word for setting in [*settings, *options] for word in ("-o", setting)]
        return ["ssh", "-F", "none", "-p", str(self.port), "-i", str(key), *flags,
                f"{account or self.account}@127.0.0.1", *command]  # fmt: skip

    @property
    def helper_directory(self) -> Path:
        """Where sshd's helper finds its files."""
        return _INSIDE if self.root else self.workdir / "helper"

    def _config(self, sshd: str) -> str:
        lines = [
            f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.workdir / 'host_key'}", "PidFile none",
            "UsePAM no", "StrictModes yes", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
            "AuthorizedKeysFile none", f"TrustedUserCAKeys {self.workdir / 'ca.pub'}", "LogLevel VERBOSE",
            "LoginGraceTime 300", "MaxStartups 300",
        ]  # fmt: skip
        if self.helper is not None:
            path = self.helper_directory
            program = f"/usr/bin/python3 -ISE {self.helper.program}"
            if self.helper.program is None:  # sshd starts what belongs to root; an ordinary user has nothing like that
                program = f"{path}/usr/libexec/tms/tms-principals"
                program = program if self.root else f"/usr/bin/python3 -ISE {program}"
            command = f"{program} --config {path}/host.conf %u %t %k"
            lines += [f"AuthorizedPrincipalsCommand {command}",
                      f"AuthorizedPrincipalsCommandUser {HELPER_ACCOUNT if self.root else self.account}"]  # fmt: skip
        if self.revoked_keys is not None:
            lines.append(f"RevokedKeys {self.revoked_keys}")
        banner = subprocess.run([sshd, "-V"], capture_output=True, text=True, check=False).stderr
        version = re.search(r"OpenSSH_(\d+)\.(\d+)", banner)
        if version and (int(version[1]), int(version[2])) >= (9, 8):
            lines.append("PerSourcePenalties no")  # many refused logins from one address are what tests are made of
        return "\n".join([*lines, self.extra, ""])

    def _write_helper(self, helper: HelperFiles) -> None:
        directory = self.workdir / "helper"
        directory.mkdir(exist_ok=True)
        inside = self.helper_directory
        if helper.program is None:
            self._install(directory)
        lines = [f"url = {helper.url}", f"tenant = {helper.tenant}", f"host = {helper.host}",
                 f"token_file = {inside}/token", f"timeout_seconds = {helper.timeout_seconds}"]  # fmt: skip
        if helper.ca_pem is not None:
            (directory / "service-ca.pem").write_text(helper.ca_pem)
            lines.append(f"ca_file = {inside}/service-ca.pem")
        (directory / "host.conf").write_text("\n".join([*lines, ""]))
        token = directory / "token"
        token.unlink(missing_ok=True)
        token.touch(0o600)
        token.write_text(helper.token + "\n")
        (directory / "host.conf").chmod(0o644)

    def _install(self, directory: Path) -> None:
        """Put the tree of a host into `directory`/usr, made to run where it will lie."""
        from deploy.build_host import stage

        staged = self.workdir / "staged"
        tree = stage(staged, f"{self.helper_directory}/usr")
        # As a package does; by content, because the copies that sshd sees are younger than these.
        compile_ = ["/usr/bin/python3", "-I", "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash"]
        subprocess.run([*compile_, tree / "lib/tms-host"], check=False, capture_output=True)
        shutil.rmtree(directory / "usr", ignore_errors=True)
        tree.rename(directory / "usr")
        shutil.rmtree(staged)

    def _in_namespace(self, command: list[str]) -> list[str]:
        inside, outside = shlex.quote(str(_INSIDE)), shlex.quote(str(self.workdir))
        people = [(HELPER_ACCOUNT, _HELPER_UID, "/nonexistent", "/usr/sbin/nologin")]
        people += [(name, _FIRST_UID + n, f"/run/home/{name}", "/bin/sh") for n, name in enumerate(self.accounts)]
        script = ["set -eu", "mount -t tmpfs -o mode=755 tmpfs /run",
                  f"mkdir -p -m 755 /run/sshd /run/home {inside} /run/etc",
                  "cp -p /etc/passwd /etc/shadow /etc/group /run/etc/"]  # fmt: skip
        for name, uid, home, shell in people:
            script += [f"echo '{name}:x:{uid}:{uid}::{home}:{shell}' >>/run/etc/passwd",
                       f"echo '{name}:*:19000:0:99999:7:::' >>/run/etc/shadow",
                       f"echo '{name}:x:{uid}:' >>/run/etc/group"]  # fmt: skip
            if home.startswith("/run/"):
                script.append(f"mkdir -m 700 {home} && chown {uid}:{uid} {home}")
        script += [f"mount --bind /run/etc/{name} /etc/{name}" for name in ("passwd", "shadow", "group")]
        if self.helper is not None:
            script += [f"cp -R {outside}/helper/* {inside}/", f"chown {_HELPER_UID} {inside}/token",
                       f"chmod 400 {inside}/token"]  # fmt: skip
        script.append(f"exec {shlex.join(command)}")
        return ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--",
                "/bin/sh", "-c", "\n".join(script)]  # fmt: skip

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + _START_SECONDS
        while f"Server listening on 127.0.0.1 port {self.port}" not in self.log:
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                hint = " (as root, this needs the right to make mount namespaces)" if self.root else ""
                raise RuntimeError(f"sshd did not start{hint}:\n{self.log[-2000:]}")
            time.sleep(0.02)


def _only_child(pid: int) -> int:
    """Return the process's child, or itself when it has none (yet, or any more)."""
    try:
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])
    except (OSError, IndexError):
        return pid


@functools.cache
def _ports() -> Iterator[int]:
    """Return the ports of this process in the order in which it takes them: blocks of its own, and then again."""
    # Below those that the system gives by itself: a port of these could be anybody's before it is listened on.
    end = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    blocks = [range(first, min(first + _BLOCK, end)) for first in range(max(1024, end - 20_000), end, _BLOCK)]
    random.SystemRandom().shuffle(blocks)
    return itertools.cycle(port for block in blocks if _claimed(block.start) for port in block)


def _claimed(first: int) -> bool:
    """Claim a block of ports until this process ends: by an abstract name, of which a network has one as of a port."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0tms-ports-{first}")
    except OSError:
        claim.close()
        return False
    claim.detach()
    return True


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody else takes who asks here, also while nobody listens on it."""
    for port in _ports():
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError("the ports go round")
