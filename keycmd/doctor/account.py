"""Whether the account may log in at all, as far as sshd and the machine decide it."""

import fnmatch
import grp
import os
import pwd
import time

from keycmd.doctor.place import read_text

CLOSED = ("nologin", "false", "true")
NOLOGIN_FILES = ("/etc/nologin", "/run/nologin", "/var/run/nologin")


def check(place, report):
    """Report what keeps the account of --account out, and /etc/nologin, which keeps everybody out."""
    for path in NOLOGIN_FILES[: 2 if os.path.islink("/var/run") else 3]:
        if os.path.lexists(path):
            report.add("nologin_present", "%s is there" % path, "when the maintenance is over: rm %s" % path)
    if not place.account:
        return
    try:
        entry = pwd.getpwnam(place.account)
    except KeyError:
        mend = "getent passwd %s  # and make the account, or mend the directory service" % place.account
        report.add("account_unknown", "there is no account %s" % place.account, mend)
        return
    settings = place.settings.get(place.account)
    _shadow(entry, settings, report)
    _shell_and_home(entry, report)
    if settings:
        _lists(place, entry, settings, report)


def _shadow(entry, settings, report):
    for line in (read_text("/etc/shadow") or "").split("\n"):
        fields = line.split(":")
        if fields[0] != entry.pw_name or len(fields) < 8:
            continue
        if fields[1].startswith("!") and settings and settings.one("usepam") == "no":
            found = "%s is locked in /etc/shadow, and sshd has UsePAM no" % entry.pw_name
            report.add("account_locked", found, "usermod -p '*' %s  # no password, not locked" % entry.pw_name)
        if fields[7].isdigit() and int(fields[7]) <= time.time() // 86400:
            ended = time.strftime("%Y-%m-%d", time.gmtime(int(fields[7]) * 86400))
            report.add("account_expired", "%s ended on %s" % (entry.pw_name, ended), "chage -E -1 %s" % entry.pw_name)


def _shell_and_home(entry, report):
    name, shell = entry.pw_name, entry.pw_shell or "/bin/sh"
    if not os.path.isfile(shell) or not os.access(shell, os.X_OK):
        report.add(
            "account_shell",
            "%s has the shell %s, which is not a program" % (name, shell),
            "usermod -s /bin/bash %s" % name,
        )
    elif os.path.basename(shell) in CLOSED:
        report.add("account_shell_closed", "%s has the shell %s" % (name, shell), "usermod -s /bin/bash %s" % name)
    if not os.path.isdir(entry.pw_dir):
        report.add("account_home", "%s has no home: %s" % (name, entry.pw_dir), "mkhomedir_helper %s" % name)


def _lists(place, entry, settings, report):
    """Judge DenyUsers, AllowUsers, DenyGroups and AllowGroups in sshd's order."""
    groups = []
    for number in os.getgrouplist(entry.pw_name, entry.pw_gid):
        try:
            groups.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    for keyword, shown, names, must in (
        ("denyusers", "DenyUsers", [entry.pw_name], False),
        ("allowusers", "AllowUsers", [entry.pw_name], True),
        ("denygroups", "DenyGroups", groups, False),
        ("allowgroups", "AllowGroups", groups, True),
    ):
        patterns = [word for value in settings.all(keyword) for word in value.split()]
        if patterns and any(_fits(name, patterns, place.address) for name in names) != must:
            found = "%s: %s %s" % (place.sshd.where(keyword), shown, " ".join(patterns))
            mend = "%s %s %s" % ("add to" if must else "take out of", shown, entry.pw_name)
            report.add("account_not_allowed", "%s, and the account is %s" % (found, entry.pw_name), mend)


def _fits(name, patterns, address):
    for pattern in patterns:
        who, at, where = pattern.partition("@")
        if fnmatch.fnmatchcase(name, who) and (not at or fnmatch.fnmatchcase(address, where)):
            return True
    return False
