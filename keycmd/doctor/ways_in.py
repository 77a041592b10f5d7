"""Ways into an account beside the helper: users' key files, CA lines in them, principals files, passwords."""

import os
import shlex

from keycmd.doctor.owners import unsafe_part
from keycmd.doctor.place import read_text

MOST_ACCOUNTS = 5000


def check(place, report):
    """Report every way in that does not ask the service."""
    for account, settings in place.settings.items():
        _key_files(place, account, settings, report)
        _principals_file(place, account, settings, report)
        _keys_command(place, account, settings, report)
        for keyword, name in (
            ("passwordauthentication", "PasswordAuthentication"),
            ("kbdinteractiveauthentication", "KbdInteractiveAuthentication"),
        ):
            if settings.one(keyword) == "yes":
                found = "%s: %s yes" % (place.sshd.where(keyword), name)
                report.add("password_open", found, "where certificates shall be the only way: %s no" % name, [account])
        if settings.one("strictmodes") == "no":
            found = "%s: StrictModes no" % place.sshd.where("strictmodes")
            report.add("strict_modes_off", found, "StrictModes yes", [account])
    _authority_lines(place, report)


def patterns(settings):
    """Return the file names of AuthorizedKeysFile; none for `none`."""
    return [name for value in settings.all("authorizedkeysfile") for name in value.split() if name.lower() != "none"]


def expanded(pattern, entry):
    """Return the path that a pattern means for an account."""
    tokens = {"%": "%", "h": entry.pw_dir, "u": entry.pw_name, "U": str(entry.pw_uid)}
    out, rest = "", pattern
    while "%" in rest:
        before, _, rest = rest.partition("%")
        out += before + tokens.get(rest[:1], "%" + rest[:1])
        rest = rest[1:]
    return os.path.join(entry.pw_dir, out + rest)


def is_users_own(pattern):
    """Tell whether a file name lies in the account's home, which belongs to the account."""
    return not pattern.startswith("/") or "%h" in pattern


def _key_files(place, account, settings, report):
    # root can write every file: only where no other account is looked at does root's setting stand for all.
    if account == "root" and len(place.settings) > 1:
        return
    entry = place.entry(account)
    open_ones = []
    for pattern in patterns(settings):
        path = expanded(pattern, entry) if entry else pattern.split("%")[0]
        if is_users_own(pattern) or unsafe_part(path, (0,)):
            open_ones.append(pattern)
    if open_ones:
        where = place.sshd.where("authorizedkeysfile", " ".join(patterns(settings)))
        found = "%s: AuthorizedKeysFile %s, which the account itself can write" % (where, " ".join(open_ones))
        mend = "AuthorizedKeysFile none  # or a path in a directory of root's, such as /etc/ssh/keys/%u"
        report.add("user_keys_file", found, mend, [account])


def _authority_lines(place, report):
    """Look for CA lines that are there now, in the files of all local accounts and of --account."""
    other = place.settings.get(place.account) or next(reversed(list(place.settings.values())), None)
    for entry in place.passwd[:MOST_ACCOUNTS]:
        settings = place.settings.get(entry.pw_name, other)
        if settings is None:
            return
        for pattern in patterns(settings):
            path = expanded(pattern, entry)
            for number, line in enumerate((read_text(path) or "").split("\n"), 1):
                if is_authority_line(line):
                    found = "%s:%d: a cert-authority line (account %s)" % (path, number, entry.pw_name)
                    mend = "sed -i %dd %s  # and AuthorizedKeysFile none, so that none comes back"
                    report.add("authority_line", found, mend % (number, shlex.quote(path)))


def is_authority_line(line):
    """Tell whether a line of an authorized_keys file has the option cert-authority."""
    quoted, word, words = False, "", []
    for n, c in enumerate(line.strip()):
        if c == '"' and line.strip()[n - 1 : n] != "\\":
            quoted = not quoted
        if c in " \t" and not quoted:
            break
        if c == "," and not quoted:
            words.append(word)
            word = ""
        else:
            word += c
    return "cert-authority" in [one.lower() for one in [*words, word]]


def _principals_file(place, account, settings, report):
    name = settings.one("authorizedprincipalsfile")
    if name:
        found = "%s: AuthorizedPrincipalsFile %s" % (place.sshd.where("authorizedprincipalsfile", name), name)
        report.add("principals_file", found, "AuthorizedPrincipalsFile none", [account])


def _keys_command(place, account, settings, report):
    command = settings.one("authorizedkeyscommand")
    if not command:
        return
    found = "%s: AuthorizedKeysCommand %s" % (place.sshd.where("authorizedkeyscommand", command), command)
    if "tms-keycmd" not in command:
        report.add("keys_command_foreign", found, "AuthorizedKeysCommand none", [account])
    elif place.conf.get("ca_lines") == "yes" and settings.one("authorizedprincipalscommand"):
        found += "; %s: ca_lines = yes" % place.conf_path
        report.add("keys_command_ca_lines", found, "ca_lines = no  # in %s" % place.conf_path, [account])
