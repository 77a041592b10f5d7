"""Whether host.conf, sshd and PAM agree about who confirms a login: nobody, PAM, or the wrapper."""

import os

from keycmd.doctor.place import read_text

PAM_DIRECTORY = "/etc/pam.d"
PAM_FILE = PAM_DIRECTORY + "/sshd"
HOOK = "tms-session"
PAM_LINE = "session required pam_exec.so quiet /usr/libexec/tms/tms-session"
WRAPPER_LINE = "ForceCommand /usr/libexec/tms/tms-session --wrap"
SFTP_SERVERS = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server")
STRONG = ("required", "requisite")
MOST_DEPTH = 8


def check(place, report):
    """Report where the three disagree."""
    way = place.conf.get("sessions", "off")
    lines = list(pam_lines(PAM_FILE))
    if way == "pam":
        if not lines:
            report.add(
                "pam_line_missing", "%s has no line with %s" % (PAM_FILE, HOOK), "%s  # in %s" % (PAM_LINE, PAM_FILE)
            )
        elif not any(control in STRONG for _, control in lines):
            where, control = lines[0]
            report.add("pam_line_weak", "%s: session %s ... %s" % (where, control, HOOK), PAM_LINE)
    elif lines:
        mend = "take the line out, or in %s: sessions = pam" % place.conf_path
        report.add("pam_line_left", "%s calls %s; sessions = %s" % (lines[0][0], HOOK, way), mend)
    for account, settings in place.settings.items():
        if way == "pam" and settings.one("usepam") == "no":
            report.add("pam_off", "%s: UsePAM no" % place.sshd.where("usepam"), "UsePAM yes", [account])
        _wrapper(place, account, settings, way, report)


def _wrapper(place, account, settings, way, report):
    command = settings.one("forcecommand")
    where = place.sshd.where("forcecommand", command)
    wrapped = HOOK in command
    if way == "wrapper" and not wrapped:
        found = "%s: ForceCommand %s" % (where, command or "none")
        report.add("force_command_missing", found, WRAPPER_LINE, [account])
    if wrapped and way != "wrapper":
        found = "%s: ForceCommand %s; sessions = %s" % (where, command, way)
        report.add(
            "force_command_left", found, "ForceCommand none, or in %s: sessions = wrapper" % place.conf_path, [account]
        )
    if way == "wrapper":
        _wrapper_limits(place, account, settings, report)
    if way == "wrapper" and settings.one("exposeauthinfo") != "yes":
        found = "%s: ExposeAuthInfo no" % place.sshd.where("exposeauthinfo")
        report.add("expose_auth_info", found, "ExposeAuthInfo yes", [account])


def _wrapper_limits(place, account, settings, report):
    """Report what goes past the wrapper, or cannot go through it; see docs/sessions.md."""
    if settings.one("disableforwarding") != "yes":
        for name in ("AllowTcpForwarding", "AllowStreamLocalForwarding"):
            if settings.one(name.lower()) not in ("no", ""):
                found = "%s: %s %s" % (place.sshd.where(name.lower()), name, settings.one(name.lower()))
                report.add("wrapper_forwarding", found, "%s no" % name, [account])
    for line in settings.all("subsystem"):
        if line.split()[:2] == ["sftp", "internal-sftp"]:
            found = "%s: Subsystem %s" % (place.sshd.where("subsystem", line), line)
            server = next((path for path in SFTP_SERVERS if os.path.exists(path)), SFTP_SERVERS[0])
            report.add("wrapper_sftp", found, "Subsystem sftp %s" % server, [account])


def pam_lines(path, depth=0):
    """Yield (file:line, control) of each session line that calls our hook, through includes."""
    for number, line in enumerate((read_text(path) or "").split("\n"), 1):
        words = line.partition("#")[0].split()
        included = (
            words[1:2] if words[:1] == ["@include"] else words[2:3] if words[1:2] in (["include"], ["substack"]) else []
        )
        if included and words[0].lstrip("-") in ("@include", "session") and depth < MOST_DEPTH:
            yield from pam_lines(os.path.join(PAM_DIRECTORY, included[0]), depth + 1)
        elif words and words[0].lstrip("-") == "session" and any(HOOK in word for word in words[2:]):
            yield "%s:%d" % (path, number), words[1]
