"""The report as an administrator reads it at night: worst first, what was found, why, and what to type."""

import textwrap

from keycmd.doctor.findings import ERROR, NOTE, SEVERITIES, WARNING

WIDTH = 100
TITLES = {
    ERROR: "ERRORS: someone could get in who should not, or nobody can",
    WARNING: "WARNINGS: it will go wrong one day, or protects less than it looks",
    NOTE: "NOTES",
}
AFTERWARDS = "After a change to sshd's files: sshd -t && systemctl reload ssh  # sshd on Rocky; keep this session open"
STATUS = {ERROR: 2, WARNING: 1, NOTE: 0}


def exit_status(findings):
    """Return 2 with an error, 1 with a warning, else 0."""
    return max([STATUS[finding.severity] for finding in findings] or [0])


def as_text(head, accounts, findings, seconds):
    """Return the whole report; `accounts` are those whose settings were looked at."""
    lines = [head, ""]
    for severity in SEVERITIES:
        group = [finding for finding in findings if finding.severity == severity]
        if group:
            lines += [TITLES[severity], ""]
        for finding in group:
            lines += [*_one(finding, accounts), ""]
    if exit_status(findings):
        lines += [AFTERWARDS, ""]
    lines.append(verdict(findings, seconds))
    return "\n".join(lines) + "\n"


def _one(finding, accounts):
    few = finding.accounts and len(finding.accounts) < len(accounts)
    lines = ["  " + finding.code + ("      (for %s)" % ", ".join(finding.accounts) if few else "")]
    lines += _wrapped("found", finding.found) + _wrapped("why", finding.why)
    # What is to be copied is never broken into lines.
    for n, line in enumerate(finding.mend.split("\n") if finding.mend else []):
        lines.append("    %-6s %s" % ("" if n else "mend:", line))
    return lines


def _wrapped(label, text):
    return textwrap.wrap(
        " ".join(text.split()),
        WIDTH,
        initial_indent="    %-6s " % (label + ":"),
        subsequent_indent=" " * 11,
        break_long_words=False,
        break_on_hyphens=False,
    )


def verdict(findings, seconds):
    """Return the last line."""
    counts = {one: sum(1 for finding in findings if finding.severity == one) for one in SEVERITIES}
    shown = ", ".join("%d %s%s" % (counts[one], one, "" if counts[one] == 1 else "s") for one in SEVERITIES)
    if counts[ERROR]:
        said = "NOT WELL. Begin with %s; docs/doctor.md explains each code" % findings[0].code
    elif counts[WARNING]:
        said = "works, with something to mend; docs/doctor.md explains each code"
    else:
        said = "well"
    return "Verdict: %s (%s; %.1f s)" % (said, shown, seconds)
