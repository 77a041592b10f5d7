"""The demo's host: a machine with sshd that joins TMS-CA as any other does, and is gone at the end.

As root it is a copy of this machine (sandbox_machine.py) on which everything is installed; as an ordinary user it is a
directory, in which the same programs run as that user.
"""

import contextlib
import getpass
import os
import re
import shutil
import subprocess
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from build_host import ROOT, stage
from sandbox_machine import Machine
from sandbox_sshd import free_port

START_SECONDS = 60
# As systemd runs the daemon: the unit's user, group and one capability.
AS_THE_UNIT_SAYS = ("setpriv", "--reuid", "tms-host", "--regid", "tms-host", "--groups", "tty", "--inh-caps", "+kill",
                    "--ambient-caps", "+kill")  # fmt: skip
COMMON = ("PasswordAuthentication=no", "KbdInteractiveAuthentication=no", "AuthorizedKeysFile=none", "MaxStartups=300")


class DemoHost:
    """What both kinds share: sshd's port, its log, and ssh."""

    account = "alice"
    prompt = "#"

    def __init__(self, work: Path, alias: str) -> None:
        self.work = work
        self.alias = alias
        self.port = free_port()  # it is some time before sshd listens there
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/sbin")
        if sshd is None:
            raise RuntimeError("sshd is not installed: apt-get install openssh-server")
        self.sshd = sshd

    def log(self, name: str = "sshd") -> str:
        """Return what sshd or hostd has said."""
        path = self.work / f"{name}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def until(self, condition: Callable[[], bool], otherwise: str) -> None:
        """Wait for a condition.

        Raises:
            RuntimeError: it does not come true

        """
        deadline = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{otherwise}:\n{self.log('sshd')[-2000:]}{self.log('hostd')[-2000:]}")
            time.sleep(0.02)

    def ssh(self, key: Path, certificate: Path, command: str) -> "subprocess.CompletedProcess[str]":
        """Log in as somebody who has never seen this host; of it, only the host CA is known."""
        options = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes",
                   "LogLevel=ERROR", f"HostKeyAlias={self.alias}", f"UserKnownHostsFile={self.work}/known_hosts",
                   "ConnectTimeout=60", "GlobalKnownHostsFile=none", f"CertificateFile={certificate}"]  # fmt: skip
        flags = [word for option in options for word in ("-o", option)]
        return subprocess.run(
            ["ssh", "-F", "none", "-p", str(self.port), "-i", key, *flags, f"{self.account}@127.0.0.1", command],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip


class RootHost(DemoHost):
    """A copy of this machine: for root."""

    def __init__(self, work: Path, alias: str) -> None:
        super().__init__(work, alias)
        self._machine = Machine(work / "machine")

    def install(self) -> str:
        """Start the machine and install what the package holds; return what was done."""
        self._machine.__enter__()
        stage(self.work / "package")
        with tarfile.open(self.work / "tms-host.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(self.work / "package", ".")
        # A password of `*` is none; `!`, the usual one of a new account, would lock it where sshd does without PAM.
        script = "useradd -m -p '*' -s /bin/sh alice\n[ -e /etc/ssh/ssh_host_ed25519_key ] || ssh-keygen -A\n"
        script += 'tar xzf "$1" -C /\n' + (ROOT / "deploy/host/scripts/setup.sh").read_text()
        self._must(script, self._machine.put(self.work / "tms-host.tar.gz"))
        return "tms-host's files are in /usr, and there is a user tms-host that may do little"

    def join(self, url: str, token: str, *pins: str) -> str:
        """Run `tms-host join`; return what it says."""
        return self._must('tms-host join "$@" --write-sshd', url, token, *pins)

    def start(self) -> None:
        """Start the daemon and sshd."""
        self._machine.spawn(self.work / "hostd.log", *AS_THE_UNIT_SAYS, "/usr/sbin/tms-hostd")
        options = [word for setting in (*COMMON, "ListenAddress=127.0.0.1", "UsePAM=no") for word in ("-o", setting)]
        self._machine.spawn(self.work / "sshd.log", self.sshd, "-D", "-e", "-p", str(self.port), *options)
        self.until(lambda: f"port {self.port}" in self.log(), "sshd does not listen")
        self.until(lambda: "daemon        runs" in self.status(), "tms-hostd does not answer")

    def status(self) -> str:
        """Return what `tms-host status` says."""
        return self._machine.sh("tms-host status").stdout

    def stop(self) -> None:
        """End everything."""
        self._machine.__exit__()

    def _must(self, script: str, *arguments: str) -> str:
        done = self._machine.sh(script, *arguments)
        if done.returncode != 0:
            raise RuntimeError(f"the host could not do it:\n{done.stdout}")
        return done.stdout


class UserHost(DemoHost):
    """A directory, with the caller's account as the only one: for everybody else."""

    prompt = "$"

    def __init__(self, work: Path, alias: str) -> None:
        super().__init__(work, alias)
        self.account = getpass.getuser()
        self._root = work / "host"
        self._started: list[subprocess.Popen[bytes]] = []

    def install(self) -> str:
        """Put the programs and a host key into the directory; return what was done."""
        stage(Path("/"), f"{self._root}/usr")
        (self._root / "etc/ssh").mkdir(parents=True)
        (self._root / "run").mkdir()
        key = self._root / "etc/ssh/ssh_host_ed25519_key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
        (self._root / "run/tms-host").mkdir()
        return f"tms-host's files are in ./{self._root.relative_to(self.work)}, because you are not root"

    def join(self, url: str, token: str, *pins: str) -> str:
        """Run `tms-host join`; return what it says."""
        said = self._tms_host("join", url, token, *pins)
        lines = "\n".join(
            re.findall(r"^(?:TrustedUser|Revoked|Authorized|CASig|HostCert|LogLevel).*$", said, re.MULTILINE)
        )
        # sshd wants a program of root's: here, the interpreter. sshd runs as this user, and so does the helper.
        lines = re.sub(r"Command \S+ ", f"Command /usr/bin/python3 -ISE {self._root}/usr/libexec/tms/tms-principals "
                       f"--config {self._root}/etc/tms/host.conf ", lines)  # fmt: skip
        lines = lines.replace("CommandUser tms-host", f"CommandUser {self.account}")
        settings = [*COMMON, f"Port={self.port}", "ListenAddress=127.0.0.1", "UsePAM=no", "PidFile=none",
                    f"HostKey={self._root}/etc/ssh/ssh_host_ed25519_key"]  # fmt: skip
        (self.work / "sshd_config").write_text("\n".join([*settings, lines, ""]))
        return said

    def start(self) -> None:
        """Start the daemon and sshd."""
        self._spawn("hostd", f"{self._root}/usr/sbin/tms-hostd", "--config", f"{self._root}/etc/tms/host.conf")
        self._spawn("sshd", self.sshd, "-D", "-e", "-f", str(self.work / "sshd_config"))
        self.until(lambda: f"port {self.port}" in self.log(), "sshd does not listen")
        self.until(lambda: "daemon        runs" in self.status(), "tms-hostd does not answer")

    def status(self) -> str:
        """Return what `tms-host status` says."""
        return self._tms_host("status", check=False)

    def stop(self) -> None:
        """End what was started."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
            process.wait()

    def _tms_host(self, word: str, *words: str, check: bool = True) -> str:
        command = [f"{self._root}/usr/sbin/tms-host", word, "--root", str(self._root), *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
        if check and done.returncode != 0:
            raise RuntimeError(f"tms-host {word} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done.stdout

    def _spawn(self, name: str, *command: str) -> None:
        with (self.work / f"{name}.log").open("ab") as log:
            self._started.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))


def demo_host(work: Path, alias: str) -> RootHost | UserHost:
    """Return the kind of host that this account can have."""
    return RootHost(work, alias) if os.geteuid() == 0 else UserHost(work, alias)
