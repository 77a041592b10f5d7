"""The two commands that sshd runs: their lines, their arguments, their user, and who could change the programs."""

import os
import shlex

from keycmd.doctor.owners import unsafe_part
from keycmd.doctor.place import OUR_USER

HELPERS = "/usr/libexec/tms/"
PRINCIPALS_LINE = "AuthorizedPrincipalsCommand " + HELPERS + "tms-principals %u %t %k"
KEYS_LINE = "AuthorizedKeysCommand " + HELPERS + "tms-keycmd %u %U %f %t"
CLOSED_SHELLS = ("nologin", "false")


class Command:
    """One of the two, as the configuration has it."""

    def __init__(self, line):
        self.line = line
        try:
            self.words = shlex.split(line)
        except ValueError:
            self.words = line.split()

    def arguments_of(self, program):
        """Return the arguments after our program's name, without --config FILE; None if it is another program."""
        for n, word in enumerate(self.words):
            if os.path.basename(word).startswith(program):
                rest = self.words[n + 1 :]
                return rest[2:] if rest[:1] == ["--config"] else rest
        return None


def check(place, report):
    """Report what is wrong with the commands, for each account's settings."""
    for account, settings in place.settings.items():
        _principals(place, account, settings, report)
        _keys(place, account, settings, report)


def _principals(place, account, settings, report):
    line = settings.one("authorizedprincipalscommand")
    where = place.sshd.where("authorizedprincipalscommand", line)
    if not line and _order(place, account, settings, report):
        return
    if not line:
        found = "%s: AuthorizedPrincipalsCommand none" % where
        report.add("principals_command_missing", found, PRINCIPALS_LINE, [account])
        return
    found = "%s: AuthorizedPrincipalsCommand %s" % (where, line)
    arguments = Command(line).arguments_of("tms-principals")
    if arguments is None:
        report.add("principals_command_foreign", found, PRINCIPALS_LINE, [account])
    elif not arguments:
        report.add("principals_command_no_arguments", found, _mended(line, " %u %t %k"), [account])
    elif arguments != ["%u", "%t", "%k"]:
        report.add("principals_command_arguments", found, _mended(line, " %u %t %k"), [account])
    _program(line, found, report, account)
    _user(place, settings, "AuthorizedPrincipalsCommandUser", report, account)


def _keys(place, account, settings, report):
    line = settings.one("authorizedkeyscommand")
    if not line:
        return
    found = "%s: AuthorizedKeysCommand %s" % (place.sshd.where("authorizedkeyscommand", line), line)
    arguments = Command(line).arguments_of("tms-keycmd")
    if arguments is not None and arguments != ["%u", "%U", "%f", "%t"]:
        report.add("keys_command_arguments", found, KEYS_LINE, [account])
    _program(line, found, report, account)
    _user(place, settings, "AuthorizedKeysCommandUser", report, account)


def _order(place, account, settings, report):
    """Report the line that sshd before 9.4 does not read because the other command stands above it; tell whether."""
    keys, principals = (place.sshd.position(name) for name in ("authorizedkeyscommand", "authorizedprincipalscommand"))
    old = place.sshd.version and place.sshd.version < (9, 4)
    ignored = bool(old and settings.one("authorizedkeyscommand") and 0 <= keys < principals)
    if ignored:
        found = "%s does not count: %s comes before it" % (
            place.sshd.where("authorizedprincipalscommand"),
            place.sshd.where("authorizedkeyscommand"),
        )
        mend = "move the line AuthorizedPrincipalsCommand above AuthorizedKeysCommand"
        report.add("command_order", "%s (%s)" % (found, place.sshd.banner), mend, [account])
    return ignored


def _mended(line, arguments):
    words = [word for word in line.split() if not word.startswith("%")]
    return "AuthorizedPrincipalsCommand " + " ".join(words) + arguments


def _program(line, found, report, account):
    """Judge the program as sshd does: there, and nobody's but root's up to the root directory."""
    path = (Command(line).words or [""])[0]
    for name in [path] + [word for word in Command(line).words[1:] if word.startswith("/usr/libexec/")]:
        if not os.path.isfile(name) or not os.access(name, os.X_OK):
            mend = "install the package tms-host, or chmod 755 %s" % name
            report.add("command_missing", "%s; %s is not a program" % (found, name), mend, [account])
            continue
        part = unsafe_part(name, (0,))
        if part:
            report.add("command_unsafe", "%s; %s" % (found, part.said), part.mend, [account])


def _user(place, settings, keyword, report, account):
    name = settings.one(keyword.lower())
    where = place.sshd.where(keyword.lower(), name)
    if not name:
        mend = "%s %s" % (keyword, OUR_USER)
        report.add("command_user_unknown", "%s: no %s" % (where, keyword), mend, [account])
        return
    found = "%s: %s %s" % (where, keyword, name)
    mend = "%s %s" % (keyword, OUR_USER)
    entry = place.entry(name)
    if entry is None:
        mend = "install the package tms-host, which makes the user %s; then: %s" % (OUR_USER, mend)
        report.add("command_user_unknown", found + ", and there is no such local user", mend, [account])
    elif entry.pw_uid == 0:
        report.add("command_user_privileged", found + " (uid 0)", mend, [account])
    elif name != OUR_USER:
        open_shell = os.path.basename(entry.pw_shell) not in CLOSED_SHELLS
        found += ", not our own %s%s" % (OUR_USER, ", and people can log in as it" if open_shell else "")
        report.add("command_user_shared", found, mend, [account])
    elif os.path.basename(entry.pw_shell) not in CLOSED_SHELLS:
        mend = "usermod -s /usr/sbin/nologin %s" % name
        report.add("command_user_shared", "%s, whose shell is %s" % (found, entry.pw_shell), mend, [account])
