"""A real sshd whose helper is the installed one: it asks a daemon that runs as the helper's user outside its namespace."""

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from deploy.sandbox_sshd import HELPER_ACCOUNT, SandboxSshd
from tests.host.namespaces import Syslog
from tests.host.sshd import Authority
from tests.hostd.conftest import PYTHON, Host

HELPER_UID = 64990  # of HELPER_ACCOUNT in the sandbox


@dataclass
class LoggedSshd(SandboxSshd):
    """As SandboxSshd, where /dev/log is a socket of the test's, and files of root's lie in /run/tms."""

    syslog: Syslog | None = None
    copies: tuple[Path, ...] = ()

    def _in_namespace(self, command: list[str]) -> list[str]:
        script = f'cp -p {shlex.join(map(str, self.copies))} /run/tms/; exec "$@"' if self.copies else 'exec "$@"'
        inside = super()._in_namespace(["/bin/sh", "-euc", script, "sh", *command])
        return self.syslog.wrap(*inside) if self.syslog else inside


@dataclass
class Place:
    """One sshd, its host, and who comes to log in."""

    sshd: LoggedSshd
    host: Host
    authority: Authority
    made: dict[tuple[str, ...], tuple[Path, Path]] = field(default_factory=dict)

    def login(self, *principals: str, command: str = "echo in"):
        """Log in with a certificate for these principals (alice's unless told)."""
        principals = principals or ("alice@h1",)
        if principals not in self.made:
            self.made[principals] = self.authority.issue("-".join(principals).replace("@", "-at-"), *principals)
        return self.sshd.ssh(*self.made[principals], command)


@contextmanager
def furnished(host: Host, log: Syslog | None = None, extra: str = "") -> Iterator[Place]:
    """Run sshd for a host that was configured; its daemon is the test's business."""
    where = host.directory / "sshd"
    where.mkdir()
    program = host.prefix / "libexec/tms/tms-principals"
    lines = [
        f"AuthorizedPrincipalsCommand {PYTHON} -ISE {program} --config {host.config} %u %t %k",
        f"AuthorizedPrincipalsCommandUser {HELPER_ACCOUNT}",
        extra,
    ]
    authority = Authority(where)
    with LoggedSshd(where, authority.lines, extra="\n".join(lines), syslog=log) as sshd:
        yield Place(sshd, host, authority)


def need_root() -> bool:
    """Tell whether this test must be left out: the helper's user exists in a namespace that only root can make."""
    return os.geteuid() != 0
