"""What a check found, and the collector that checks give it to."""

from keycmd.doctor.catalogue import CATALOGUE

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)  # worst first
MOST_CHARACTERS = 600


class Finding:
    """One thing that an administrator should know; the catalogue knows how bad it is and why."""

    def __init__(self, code, found, mend, accounts=()):
        self.code = code
        self.severity, self.why = CATALOGUE[code]
        self.found = printable(found)
        self.mend = printable(mend)
        self.accounts = list(accounts)  # those whose settings show it; empty: it does not depend on the account

    @property
    def key(self):
        """What makes two findings one, whoever they were found for."""
        return (self.code, self.found, self.mend)

    def as_json(self):
        """Return the finding as an object of JSON."""
        return {
            "code": self.code,
            "severity": self.severity,
            "found": self.found,
            "why": self.why,
            "mend": self.mend,
            "accounts": self.accounts,
        }


class Report:
    """Takes findings; `sink` is called with each new one, so that none is lost with a check that hangs later."""

    def __init__(self, sink):
        self._sink = sink

    def add(self, code, found, mend, accounts=()):
        """Take one; `found` says where and what, `mend` the exact line or command.

        Raises:
            KeyError: the catalogue does not have `code`
        """
        self._sink(Finding(code, found, mend, accounts))


def merged(findings):
    """Return them worst first, in the catalogue's order, with the accounts of equal ones together."""
    by_key = {}
    for finding in findings:
        known = by_key.setdefault(finding.key, finding)
        if known is not finding:
            known.accounts += [name for name in finding.accounts if name not in known.accounts]
    order = list(CATALOGUE)
    return sorted(by_key.values(), key=lambda one: (SEVERITIES.index(one.severity), order.index(one.code)))


def printable(text):
    """Return `text` as a terminal may have it: whatever a file or the service said, no control character goes out."""
    clean = "".join(c if " " <= c <= "~" or c == "\n" else "?" for c in text)
    return clean if len(clean) <= MOST_CHARACTERS else clean[: MOST_CHARACTERS - 3] + "..."
