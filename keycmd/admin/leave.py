"""`tms-host leave`: the service forgets this machine, and our files go; sshd's configuration is yours."""

import contextlib
import glob
import os
import shutil

from keycmd import files
from keycmd.admin import daemon, service
from keycmd.admin.places import AdminError, sentence
from keycmd.admin.rotate import configuration

_OUR_LINES = ("/tms-host", "/etc/tms", "/libexec/tms")


class Left:
    """What a leave has done: the files that went, the lines of PAM and sshd that still name ours, what is left to do.

    `kept` is the KRL where sshd still names it: without that file sshd would take no key at all.
    """

    def __init__(self, removed, lines, kept, running):
        self.removed = removed
        self.lines = lines
        self.kept = kept
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
            text = "%s Nothing was removed; `tms-host leave --force` goes on without the service's knowing"
            raise AdminError(text % sentence(error)) from error
    # Without its configuration the daemon does not begin again, and nobody writes what we remove.
    removed = _remove([places.token, places.config, places.ca_file])
    running = not daemon.end(places.run)
    lines = remaining_lines(places)
    paths = [places.user_ca, places.host_ca, places.trust]
    kept = places.krl if any(places.krl in line for line in lines) else None
    removed += _remove(paths if kept else [*paths, places.krl])
    removed += _remove_certificates(places.certificates)
    _remove_tree(places.spool)
    return Left(removed, lines, kept, running)


def _remove(paths):
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


def _remove_certificates(directory):
    """Remove what a join puts there, and nothing where tms-host, whose directory it is, has laid a link to another."""
    try:
        descriptor = files.open_directory(directory)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AdminError("cannot remove the certificates in %s: %s" % (directory, error.strerror)) from error
    removed = []
    try:
        for name in sorted(os.listdir(descriptor)):
            if name.endswith(".pub"):
                os.unlink(name, dir_fd=descriptor)
                removed.append(os.path.join(directory, name))
    except OSError as error:
        raise AdminError("cannot remove the certificates in %s: %s" % (directory, error.strerror)) from error
    finally:
        os.close(descriptor)
    return removed


def _remove_tree(directory):
    """Remove a directory with all below it; rmtree follows no link, and refuses a directory that is one."""
    try:
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(directory)
    except OSError as error:
        raise AdminError("cannot remove %s: %s" % (directory, error)) from error


def remaining_lines(places):
    """Return `FILE:NUMBER: LINE` for every line of PAM's and sshd's configuration that names a file of ours."""
    found = []
    # PAM first: without the program that such a line names nobody can log in.
    paths = sorted(glob.glob(places.root + "/etc/pam.d/*"))
    for path in [*paths, places.sshd_config, *sorted(glob.glob(places.ssh + "/sshd_config.d/*.conf"))]:
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
