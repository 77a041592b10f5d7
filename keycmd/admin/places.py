"""Where a host's files are and whose they are; `--root` moves all of it, for images and for tests."""

import grp
import os
import pwd

USER = "tms-host"


class AdminError(Exception):
    """What keeps tms-host from doing it; the text says what was found, what is there now and what to do."""


def sentence(error):
    """Return what an error says as a whole sentence, for another to follow."""
    text = str(error)
    return text if text.endswith((".", "?", "!")) else text + "."


class Places:
    """Every path, below `root`; `uid` and `gid` are tms-host's."""

    def __init__(self, root=""):
        self.root = root.rstrip("/")
        self.etc = self.root + "/etc/tms"
        self.config = self.etc + "/host.conf"
        self.token = self.etc + "/token"
        self.ca_file = self.etc + "/service-ca.pem"
        self.state = self.root + "/var/lib/tms-host"
        self.user_ca = self.state + "/user_ca.pub"
        self.host_ca = self.state + "/host_ca.pub"
        self.krl = self.state + "/krl"
        self.trust = self.state + "/trust.json"
        self.certificates = self.state + "/host-certs"
        self.spool = self.state + "/spool"
        self.run = self.root + "/run/tms-host"
        self.ssh = self.root + "/etc/ssh"
        self.sshd_config = self.ssh + "/sshd_config"
        self.snippet = self.ssh + "/sshd_config.d/50-tms.conf"
        self.uid, self.gid = self._owner()

    def _owner(self):
        """Return tms-host's numbers; below a root of its own, where that user is missing, the caller's."""
        try:
            return pwd.getpwnam(USER).pw_uid, grp.getgrnam(USER).gr_gid
        except KeyError:
            if self.root:
                return os.geteuid(), os.getegid()
            text = "there is no user and group %s: install the package, or `useradd --system --user-group %s`"
            raise AdminError(text % (USER, USER)) from None

    def needs_root(self):
        """Refuse anybody else, except below a root of its own, where only the files' rights count.

        Raises:
            AdminError: not root
        """
        if not self.root and os.geteuid() != 0:
            raise AdminError("this must be run as root")
        if self.root and os.geteuid() != 0:
            self.uid, self.gid = os.geteuid(), os.getegid()
