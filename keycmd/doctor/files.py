"""The files of TMS-CA on this host: there, readable by the helper, and nobody else's to change."""

import os
import stat

from keycmd.doctor.owners import unsafe_part, user_name
from keycmd.doctor.place import OUR_USER

JOIN = "an admin: tms-ca hosts invite HOST; then here: tms-host join URL TOKEN"


def check(place, report):
    """Report files that are missing, that others can change, and secrets that others can read."""
    ours = place.entry(helper_user(place))
    uids = (0, ours.pw_uid) if ours else (0,)
    if not os.path.isfile(place.conf_path):
        report.add("host_conf_missing", "%s is not there" % place.conf_path, JOIN)
        if not os.path.lexists(place.token_file):
            return  # this host has never joined: that all the rest is missing, too, is no news
    else:
        _owner(place.conf_path, (0,), report)
        if ours and os.path.isfile(place.token_file):
            _as_the_helper(place, ours, report)
    _token(place, ours, uids, report)
    missing = []
    for path in map(place.file, ("user_ca.pub", "krl", "trust.json", "host_ca.pub", "host-certs")):
        if os.path.lexists(path):
            _owner(path, uids, report)
        else:
            missing.append(path)
    if missing:
        report.add("path_missing", "not there: %s" % " ".join(missing), "systemctl restart tms-hostd, or: " + JOIN)
    for path in place.sshd.files:
        if os.path.lexists(path):
            _owner(path, (0,), report)
    for name in ("ask.sock", "session.sock"):
        # As in keycmd.hostd.daemon: users ask at session.sock themselves only with the wrapper.
        others = name == "session.sock" and place.conf.get("sessions") == "wrapper"
        _socket(os.path.join(place.run, name), uids, 0o666 if others else 0o600, report)


def helper_user(place):
    """Return the user that the helper runs as: sshd's word, else ours, as it was meant."""
    for settings in place.settings.values():
        name = settings.one("authorizedprincipalscommanduser")
        if name and place.entry(name):
            return name
    return OUR_USER


def _owner(path, uids, report):
    part = unsafe_part(path, uids)
    if part:
        report.add("path_unsafe", "%s: %s" % (path, part.said), part.mend)


def _token(place, ours, uids, report):
    path = place.token_file
    try:
        status = os.stat(path)
    except OSError as error:
        report.add("token_missing", "%s: %s" % (path, error.strerror), JOIN)
        return
    _owner(path, uids, report)
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        report.add("token_exposed", "%s has mode %04o" % (path, mode), "chmod 400 %s; tms-host rotate" % path)
    if ours and status.st_uid != ours.pw_uid:
        found = "%s belongs to %s; the helper is %s" % (path, user_name(status.st_uid), ours.pw_name)
        report.add("token_unreadable", found, "chown %s %s" % (ours.pw_name, path))


def _as_the_helper(place, ours, report):
    """Let the helper's own code read the configuration, as the helper's user."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(read)
            os.setgroups([])
            os.setgid(ours.pw_gid)
            os.setuid(ours.pw_uid)
            os.write(write, _loaded(place.conf_path).encode("utf-8", "replace"))
        finally:
            os._exit(0)
    os.close(write)
    said = b""
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read()
    os.waitpid(pid, 0)
    text = said.decode("utf-8", "replace")
    # An owner or a mode of the credential is reported by a code of its own.
    if text and place.token_file not in text:
        report.add("host_conf_bad", text, "mend the line; docs/hosts.md has every key")


def _loaded(path):
    from keycmd.config import ConfigError, load

    try:
        load(path)
    except ConfigError as error:
        return str(error)
    return ""


def _socket(path, uids, wanted, report):
    try:
        status = os.lstat(path)
    except OSError:
        return  # the check of the daemon says so
    mode = stat.S_IMODE(status.st_mode)
    if not stat.S_ISSOCK(status.st_mode) or status.st_uid not in uids or mode & ~wanted:
        found = "%s has mode %04o and belongs to %s, expected a socket of %s with mode %04o"
        found %= (path, mode, user_name(status.st_uid), OUR_USER, wanted)
        report.add("path_unsafe", found, "systemctl restart tms-hostd")
    part = unsafe_part(os.path.dirname(path), uids)
    if part:
        report.add("path_unsafe", "%s: %s" % (path, part.said), part.mend)
