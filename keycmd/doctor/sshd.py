"""What sshd says of itself: its version, its effective settings for an account, and the line that each comes from."""

import glob
import os
import re

from keycmd.doctor.running import run

DEFAULT_CONFIG = "/etc/ssh/sshd_config"
DEFAULT = "the default of sshd"
MOST_DEPTH = 16  # of Include in Include, as in sshd
MOST_BYTES = 1048576
_LINE = re.compile(r"^\s*([A-Za-z0-9]+)(?:\s*=\s*|\s+)(.*?)\s*$")
_VERSION = re.compile(r"OpenSSH_(\d+)\.(\d+)(?:p(\d+))?[^\n,]*")


class Broken(Exception):
    """sshd does not take its configuration; the text is what it said."""


class Settings:
    """What `sshd -T` printed for one account: keyword in lower case to its values, one for each line."""

    def __init__(self, text):
        self._values = {}
        for line in text.splitlines():
            keyword, _, value = line.strip().partition(" ")
            self._values.setdefault(keyword.lower(), []).append(value)

    def all(self, keyword):
        """Return the values; `none` is no value."""
        return [value for value in self._values.get(keyword, []) if value.lower() != "none"]

    def one(self, keyword):
        """Return the value, or an empty string for `none`, or for a keyword that this sshd does not know."""
        return (self.all(keyword) or [""])[0]

    def knows(self, keyword):
        """Tell whether this sshd has the keyword at all."""
        return keyword in self._values


class Line:
    """A line of a configuration file."""

    def __init__(self, keyword, value, place, in_match):
        self.keyword = keyword.lower()
        self.value = value
        self.place = place  # file:line
        self.in_match = in_match


class Sshd:
    """The sshd of this machine with one configuration file."""

    def __init__(self, config):
        self.config = config
        self.path = next((p for p in ("/usr/sbin/sshd", "/sbin/sshd", "/usr/local/sbin/sshd") if os.path.exists(p)), "")
        # Before 9.3, -V is an unknown option: sshd complains, and names itself all the same.
        said = "".join(run([self.path, "-V"])[1:]) if self.path else ""
        found = _VERSION.search(said)
        self.version = tuple(int(part or 0) for part in found.groups()) if found else ()
        self.banner = found.group(0).replace("_", " ") if found else "OpenSSH of an unknown version"
        self.lines = []
        self.files = []
        self._read(config, 0, False)

    def effective(self, account, address):
        """Return the Settings for a login to `account` from `address`.

        Raises:
            Broken: sshd refuses the configuration, or is not there
        """
        if not self.path:
            raise Broken("there is no sshd in /usr/sbin, /sbin or /usr/local/sbin")
        who = "user=%s,host=%s,addr=%s" % (account, address, address)
        status, out, err = run([self.path, "-T", "-f", self.config, "-C", who])
        if status != 0:
            raise Broken((err or out).strip() or "sshd -T ended with status %s" % status)
        return Settings(out)

    def where(self, keyword, value=None):
        """Return file:line of a keyword: of the line with this value, else of the first, else `DEFAULT`."""
        lines = [line for line in self.lines if line.keyword == keyword.lower()]
        same = [line for line in lines if value is not None and _plain(line.value) == _plain(value)]
        return (same or [line for line in lines if not line.in_match] or lines or [_Nowhere])[0].place

    def position(self, keyword):
        """Return the place in reading order of the first line with a keyword, or -1."""
        return next((n for n, line in enumerate(self.lines) if line.keyword == keyword.lower()), -1)

    def _read(self, path, depth, in_match):
        """Append the lines of a file and of what it includes; what cannot be read is sshd's to complain about."""
        self.files.append(path)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read(MOST_BYTES).splitlines()
        except OSError:
            return
        for number, text in enumerate(lines, 1):
            found = _LINE.match(text)
            if not found:
                continue
            keyword, value = found.group(1).lower(), found.group(2)
            if keyword == "match":
                in_match = value.lower() != "all"
            if keyword == "include" and depth < MOST_DEPTH:
                for pattern in value.replace('"', "").split():
                    # A relative one is meant from /etc/ssh, wherever the file that includes it is.
                    for name in sorted(glob.glob(os.path.join("/etc/ssh", pattern))):
                        self._read(name, depth + 1, in_match)
                continue
            self.lines.append(Line(keyword, value, "%s:%d" % (path, number), in_match))


_Nowhere = Line("", "", DEFAULT, False)


def _plain(value):
    return " ".join(value.replace('"', "").split()).lower()
