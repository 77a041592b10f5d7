"""How sshd is set otherwise: what it takes, how long it waits, whom it shuts out, what it logs."""

import ipaddress

CERTIFICATE = "-cert-v01@openssh.com"
FEWEST_STARTUPS = 30
VERBOSE = ("VERBOSE", "DEBUG", "DEBUG1", "DEBUG2", "DEBUG3")


def check(place, report):
    """Report settings that keep certificates, gateways or the log from working."""
    for account, settings in place.settings.items():
        _takes_certificates(place, account, settings, report)
        level = settings.one("loglevel")
        if level and level.upper() not in VERBOSE:
            found = "%s: LogLevel %s" % (place.sshd.where("loglevel"), level)
            report.add("log_level", found, "LogLevel VERBOSE", [account])
    # These do not depend on the account: sshd reads them before it knows of one.
    for settings in list(place.settings.values())[:1]:
        _grace_time(place, settings, report)
        _startups(place, settings, report)
        _penalties(place, settings, report)
    _matches(place, report)


def _takes_certificates(place, account, settings, report):
    if settings.one("pubkeyauthentication") == "no":
        found = "%s: PubkeyAuthentication no" % place.sshd.where("pubkeyauthentication")
        report.add("pubkey_off", found, "PubkeyAuthentication yes", [account])
    # The name until OpenSSH 8.4 is the second.
    for keyword, name in (
        ("pubkeyacceptedalgorithms", "PubkeyAcceptedAlgorithms"),
        ("pubkeyacceptedkeytypes", "PubkeyAcceptedKeyTypes"),
    ):
        taken = settings.one(keyword)
        if taken and not any(one.endswith(CERTIFICATE) for one in taken.split(",")):
            found = "%s: %s %s" % (place.sshd.where(keyword), name, taken)
            mend = "%s ssh-ed25519%s,%s" % (name, CERTIFICATE, taken)
            report.add("algorithms_no_certificates", found, mend, [account])


def _grace_time(place, settings, report):
    value = settings.one("logingracetime")
    # 0 is no limit at all.
    if value.isdigit() and 0 < int(value) <= 2 * place.timeout:
        found = "%s: LoginGraceTime %s; the helper runs twice and may take %g seconds each time (%s: timeout_seconds)"
        found %= (place.sshd.where("logingracetime"), value, place.timeout, place.conf_path)
        report.add("grace_time", found, "LoginGraceTime 120")


def _startups(place, settings, report):
    value = settings.one("maxstartups")
    if value.split(":")[0].isdigit() and int(value.split(":")[0]) < FEWEST_STARTUPS:
        where = place.sshd.where("maxstartups")
        found = "%s: MaxStartups %s: from %s unfinished logins on, connections are dropped at random"
        report.add("max_startups", found % (where, value, value.split(":")[0]), "MaxStartups 100:30:300")


def _penalties(place, settings, report):
    value = settings.one("persourcepenalties")  # 9.8 and later
    if not value or value == "no":
        return
    exempt = settings.one("persourcepenaltyexemptlist")
    found = "%s: PerSourcePenalties %s; PerSourcePenaltyExemptList %s"
    found %= (place.sshd.where("persourcepenalties"), value, exempt or "none")
    if not exempt:
        mend = "PerSourcePenaltyExemptList %s" % (place.address if place.address_given else "GATEWAY-ADDRESS[,...]")
        report.add("penalties", found, mend)
    elif place.address_given and not _in_list(place.address, exempt):
        mend = "PerSourcePenaltyExemptList %s,%s" % (exempt, place.address)
        report.add("penalties", "%s, without %s" % (found, place.address), mend)


def _in_list(address, text):
    """Tell whether an address is in a list of CIDR blocks, as sshd reads it: a negated block that fits wins."""
    inside = False
    for word in text.split(","):
        try:
            fits = ipaddress.ip_address(address) in ipaddress.ip_network(word.strip().lstrip("!"), strict=False)
        except ValueError:
            continue
        if fits and word.strip().startswith("!"):
            return False
        inside = inside or fits
    return inside


JUDGED = (
    "AuthorizedKeysFile",
    "AuthorizedKeysCommand",
    "AuthorizedKeysCommandUser",
    "AuthorizedPrincipalsCommand",
    "AuthorizedPrincipalsCommandUser",
    "AuthorizedPrincipalsFile",
    "TrustedUserCAKeys",
    "RevokedKeys",
    "CASignatureAlgorithms",
    "PubkeyAuthentication",
    "PubkeyAcceptedAlgorithms",
    "ExposeAuthInfo",
    "ForceCommand",
    "LogLevel",
)


def _matches(place, report):
    """Report what differs between the accounts that were looked at."""
    names = list(place.settings)
    for keyword in JUDGED:
        values = {name: place.settings[name].one(keyword.lower()) or "none" for name in names}
        for name in names[1:]:
            if values[name] == values[names[0]]:
                continue
            found = "%s: %s is %s for %s, and %s for %s"
            value = place.settings[name].one(keyword.lower()) or None
            where = place.sshd.where(keyword.lower(), value)
            found %= (where, keyword, values[names[0]], names[0], values[name], name)
            mend = "look at its Match block: sshd -T -C user=%s,host=%s,addr=%s | grep -i %s"
            report.add("match_changes", found, mend % (name, place.address, place.address, keyword), [name])
