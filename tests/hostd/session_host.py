"""A host in namespaces of its own: a real sshd with PAM, the installed tree, and the real daemon as its own user.

Nothing of this machine is changed: /run, /etc/pam.d, /etc/passwd and the like are other files in there, and everything
that runs in there ends with it.
"""

import os
import re
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from deploy.sandbox_sshd import free_port
from tests.halting import still
from tests.patient import LIBRARY, LONGEST, set_time, stage_patiently

DAEMON_UID, FIRST_UID = 61101, 61110
PAM = "session required pam_exec.so quiet {session} --config {config}"
START_SECONDS = 60


@dataclass
class SessionHost:
    """Give it a directory that others may enter, the service's URL, the host's credential and the CA's lines."""

    directory: Path
    url: str
    token: str
    ca_keys: str
    mode: str = "pam"  # or wrapper, or bare for neither
    accounts: tuple[str, ...] = ("alice", "bob")
    shell: str = "/bin/sh"
    settings: dict[str, str] = field(default_factory=dict)
    sshd_lines: tuple[str, ...] = ()
    pam_lines: tuple[str, ...] = ()  # before the hook's
    pam_lines_after: tuple[str, ...] = ()
    wrap: str = "--wrap"
    before: str = ""  # the wrapper's command
    host_ca: str = ""  # the CA keys that sign trust bundles
    helper: bool = False  # whether tms-principals is asked, rather than a file
    with_daemon: bool = True
    port: int = 0
    _holder: "subprocess.Popen[bytes] | None" = None
    _daemon: "subprocess.Popen[bytes] | None" = None
    _sshd: "subprocess.Popen[bytes] | None" = None

    @property
    def prefix(self) -> Path:
        return Path("/run/tms")  # in there: every directory above belongs to root, as sshd wants it

    @property
    def state(self) -> Path:
        return self.directory / "state"

    @property
    def config(self) -> Path:
        return self.directory / "host.conf"

    @property
    def log(self) -> str:
        """What sshd has written."""
        return (self.directory / "sshd.log").read_text(errors="replace")

    @property
    def daemon_log(self) -> str:
        """What the daemon has written; there is no syslog in here."""
        return (self.directory / "hostd.log").read_text(errors="replace")

    def __enter__(self) -> Self:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.directory.chmod(0o755)
        stage_patiently(self.directory / "tree/run/tms", str(self.prefix))
        self.state.mkdir(exist_ok=True)
        os.chown(self.state, DAEMON_UID, DAEMON_UID)
        self.state.chmod(0o755)
        for name, keys in (("user_ca.pub", self.ca_keys), ("host_ca.pub", self.host_ca)):
            if keys:
                (self.state / name).write_text(keys)
                os.chown(self.state / name, DAEMON_UID, DAEMON_UID)
        token = self.directory / "token"
        token.touch(0o600)
        token.write_text(self.token + "\n")
        os.chown(token, DAEMON_UID, DAEMON_UID)
        self.configure()
        for name in ("host_key",):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", self.directory / name], check=True
            )
        self.port = free_port()
        key = (self.directory / "host_key.pub").read_text().strip()
        (self.directory / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}\n")
        (self.directory / "sshd_config").write_text(self._sshd_config())
        (self.directory / "pam").write_text(self._pam())
        self._hold()
        try:
            if self.with_daemon:
                self.start_daemon()
            self._start_sshd()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        holder, self._holder = self._holder, None
        if holder is not None:
            holder.kill()  # --kill-child: the first process of the namespace ends with it, and all the others with that
            holder.wait(60)
        for process in (self._daemon, self._sshd):
            if process is not None:
                process.wait(60)

    def configure(self, **more: str) -> None:
        """Write host.conf; a running daemon reads it at its next SIGHUP."""
        self.settings.update(more)
        values = {
            "url": self.url, "tenant": "default", "host": "h1", "node": "n1", "token_file": str(self.directory / "token"),
            "timeout_seconds": LONGEST, "state_dir": str(self.state), "run_dir": "/run/tms-host", "report_seconds": "5",
            "sessions": "off" if self.mode == "bare" else self.mode, **self.settings,
        }  # fmt: skip
        self.config.write_text("".join(f"{key} = {value}\n" for key, value in values.items()))
        self.config.chmod(0o644)

    def inside(self, *command: str) -> list[str]:
        """Return a command line that runs in the host."""
        assert self._holder is not None
        return ["nsenter", "-t", str(_only_child(self._holder.pid)), "-m", "-p", "--", *command]

    def run(self, *command: str, check: bool = True) -> str:
        """Run a program in the host, as root."""
        return subprocess.run(self.inside(*command), check=check, capture_output=True, text=True, timeout=120).stdout

    def set_time(self, module: str, name: str, seconds: float) -> None:
        """Let a module of the installed programs wait for another time."""
        library = self.directory / "tree/run/tms" / LIBRARY
        set_time(library, module, name, seconds)
        self.run("cp", str(library / module), str(self.prefix / LIBRARY / module))
        self.run("find", str(self.prefix / LIBRARY / module).rpartition("/")[0], "-name", "*.pyc", "-delete")

    def start_daemon(self) -> None:
        """Start tms-hostd as its own user, with CAP_KILL and the group tty, and wait until it listens."""
        before = len(self.daemon_log) if (self.directory / "hostd.log").exists() else 0
        rights = ["setpriv", f"--reuid={DAEMON_UID}", f"--regid={DAEMON_UID}", "--groups=tty", "--inh-caps=-all,+kill",
                  "--ambient-caps=-all,+kill", "--bounding-set=-all,+kill", "--no-new-privs"]  # fmt: skip
        with (self.directory / "hostd.log").open("ab") as log:
            self._daemon = subprocess.Popen(
                self.inside(*rights, str(self.prefix / "sbin/tms-hostd"), "--config", str(self.config)),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._until(lambda: "started host=" in self.daemon_log[before:], self._daemon, lambda: self.daemon_log)

    def signal_daemon(self, number: int) -> None:
        """Send the daemon itself a signal."""
        assert self._daemon is not None
        os.kill(_only_child(self._daemon.pid), number)
        if number == signal.SIGSTOP:
            # nsenter stops itself when its child is stopped: after a SIGCONT that overtook that, nothing would wake it.
            still(self._daemon.pid)
            assert self._daemon.poll() is None, self.daemon_log
        elif number == signal.SIGCONT:
            os.kill(self._daemon.pid, number)

    def kill_daemon(self) -> None:
        """kill -9."""
        assert self._daemon is not None
        self.signal_daemon(signal.SIGKILL)
        self._daemon.wait(60)

    def ssh_command(self, key: Path, certificate: Path | None, *command: str, account: str = "alice",
                    options: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> list[str]:  # fmt: skip
        """Return the command line of a real ssh; nothing of the user's own ssh configuration takes part."""
        settings = ["BatchMode=yes", "IdentitiesOnly=yes", "IdentityAgent=none", "StrictHostKeyChecking=yes",
                    f"UserKnownHostsFile={self.directory / 'known_hosts'}", "GlobalKnownHostsFile=none",
                    "ConnectTimeout=60", "LogLevel=ERROR", *options]  # fmt: skip
        if certificate is not None:
            settings.append(f"CertificateFile={certificate}")
        words = [word for setting in settings for word in ("-o", setting)]
        return ["ssh", "-F", "none", "-p", str(self.port), "-i", str(key), *words, *flags,
                f"{account}@127.0.0.1", *command]  # fmt: skip

    def ssh(
        self, key: Path, certificate: Path | None, *command: str, **more: object
    ) -> "subprocess.CompletedProcess[str]":
        """Run a command over a real ssh."""
        return subprocess.run(
            self.ssh_command(key, certificate, *command, **more),
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip

    def _sshd_config(self) -> str:
        # What a test says comes first: of two values, sshd takes the first.
        lines = [
            *self.sshd_lines, f"Port {self.port}", "ListenAddress 127.0.0.1", f"HostKey {self.directory / 'host_key'}", "PidFile none",
            "StrictModes yes", "AuthorizedKeysFile none", "PasswordAuthentication no", "KbdInteractiveAuthentication no",
            f"TrustedUserCAKeys {self.state / 'user_ca.pub'}", "LogLevel VERBOSE", "LoginGraceTime 300", "MaxStartups 300",
            "Subsystem sftp /usr/lib/openssh/sftp-server",
        ]  # fmt: skip
        if self.helper:
            lines += [f"AuthorizedPrincipalsCommand {self.prefix}/libexec/tms/tms-principals --config {self.config} %u %t %k",
                      "AuthorizedPrincipalsCommandUser tms-host"]  # fmt: skip
        else:
            lines.append("AuthorizedPrincipalsFile /run/principals/%u")
        if self.mode == "pam":
            lines.append("UsePAM yes")
        elif self.mode == "bare":
            lines.append("UsePAM no")
        else:
            command = f"{self.before}{self.prefix}/libexec/tms/tms-session --config {self.config} {self.wrap}"
            lines += ["UsePAM no", "ExposeAuthInfo yes", f"ForceCommand {command}"]
        banner = subprocess.run(["/usr/sbin/sshd", "-V"], capture_output=True, text=True, check=False).stderr
        version = re.search(r"OpenSSH_(\d+)\.(\d+)", banner)
        if version and (int(version[1]), int(version[2])) >= (9, 8):
            lines.append("PerSourcePenalties no")
        return "\n".join([*lines, ""])

    def _pam(self) -> str:
        hook = PAM.format(session=self.prefix / "libexec/tms/tms-session", config=self.config)
        return "\n".join(["auth required pam_deny.so", "account required pam_permit.so", *self.pam_lines, hook, *self.pam_lines_after,
                          "session required pam_permit.so", ""])  # fmt: skip

    def _hold(self) -> None:
        script = ["set -eu", "mount -t tmpfs -o mode=755 tmpfs /run",
                  f"mkdir -p -m 755 /run/sshd /run/home /run/etc /run/principals /run/tms-host && chown {DAEMON_UID}:{DAEMON_UID} /run/tms-host",
                  "cp -p /etc/passwd /etc/shadow /etc/group /run/etc/", "cp -r /etc/pam.d /run/pam.d",
                  f"cp -r {shlex.quote(str(self.directory / 'tree'))}/run/tms /run/tms",
                  f"cp {shlex.quote(str(self.directory / 'pam'))} /run/pam.d/sshd"]  # fmt: skip
        people = [("tms-host", DAEMON_UID, "/nonexistent", "/usr/sbin/nologin")]
        people += [(name, FIRST_UID + n, f"/run/home/{name}", self.shell) for n, name in enumerate(self.accounts)]
        for name, uid, home, shell in people:
            script += [f"echo '{name}@h1' >/run/principals/{name}",
                       f"echo '{name}:x:{uid}:{uid}::{home}:{shell}' >>/run/etc/passwd",
                       f"echo '{name}:*:19000:0:99999:7:::' >>/run/etc/shadow",
                       f"echo '{name}:x:{uid}:' >>/run/etc/group"]  # fmt: skip
            if home.startswith("/run/"):
                script.append(f"mkdir -m 700 {home} && chown {uid}:{uid} {home}")
        script += [f"mount --bind /run/etc/{name} /etc/{name}" for name in ("passwd", "shadow", "group")]
        script += ["mount --bind /run/pam.d /etc/pam.d", "echo held", "exec sleep infinity"]
        self._holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--mount-proc", "--",
             "/bin/sh", "-c", "\n".join(script)],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
        )  # fmt: skip
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == b"held\n", "no namespaces: this needs root"
        self._holder.stdout.close()

    def _start_sshd(self) -> None:
        with (self.directory / "sshd.log").open("ab") as log:
            self._sshd = subprocess.Popen(
                self.inside("/usr/sbin/sshd", "-D", "-e", "-f", str(self.directory / "sshd_config")),
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        self._until(lambda: f"port {self.port}" in self.log, self._sshd, lambda: self.log)

    @staticmethod
    def _until(condition, process, said) -> None:
        until = time.monotonic() + START_SECONDS
        while not condition():
            assert process.poll() is None, said()
            assert time.monotonic() < until, said()
            time.sleep(0.02)


def _only_child(pid: int) -> int:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if found:
            return int(found[0])
        time.sleep(0.01)
    return pid
