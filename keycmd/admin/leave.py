"""`tms-host leave`: the service forgets this machine, and our files go; sshd's configuration is yours."""

import glob
import os

from keycmd.admin import daemon, service
from keycmd.admin.places import AdminError
from keycmd.admin.rotate import configuration

_OUR_LINES = ("/tms-host", "/etc/tms", "/libexec/tms")


class Left:
    """What a leave has done: the files that went, the lines of sshd that still name ours, whether a daemon runs."""

    def __init__(self, removed, lines, running):
        self.removed = removed
        self.lines = lines
        self.running = running


def leave(places, force):
    """Tell the service, then remove what a join wrote; `force` goes on where the service cannot be told.

    Raises:
        AdminError: the service could not be told, and nothing was changed; or a file could not be removed
    """
    places.needs_root()
    try:
        config = configuration(places)
        with service.Service(config) as asked:
            asked.good("DELETE", "hosts/%s/nodes/%s" % (config.host, config.node))
    except AdminError as error:
        # Already forgotten there is as good.
        if not force and getattr(error, "status", None) not in (401, 404):
            text = "%s. Nothing was removed; `tms-host leave --force` goes on without the service's knowing"
            raise AdminError(text % error) from error
    removed = _remove(places)
    running = daemon.ask_status(places.run)[0] is not None
    return Left(removed, remaining_lines(places), running)


def _remove(places):
    """Remove our files, the credential first; a KRL or CA file that sshd still names refuses everybody from now on."""
    paths = [places.token, places.config, places.ca_file, places.user_ca, places.host_ca, places.krl, places.trust]
    paths += sorted(glob.glob(places.certificates + "/*"))
    removed = []
    for path in paths:
        try:
            os.unlink(path)
            removed.append(path)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise AdminError("cannot remove %s: %s; removed already: %s" % (path, error, ", ".join(removed))) from error
    return removed


def remaining_lines(places):
    """Return `FILE:NUMBER: LINE` for every line of sshd's configuration that names a file of ours."""
    found = []
    for path in [places.sshd_config, *sorted(glob.glob(places.ssh + "/sshd_config.d/*.conf"))]:
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                lines = file.read().split("\n")
        except OSError:
            continue
        for number, line in enumerate(lines, 1):
            text = line.strip()
            if not text.startswith("#") and any(ours in text for ours in _OUR_LINES):
                found.append("%s:%d: %s" % (path, number, text))
    return found
