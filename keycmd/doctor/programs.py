"""The versions of sshd and ssh-keygen, and what is known of them."""

from keycmd.doctor.running import run

OLDEST = (8, 4)
# (from, before, what): versions of upstream, from its release notes. A distribution mends many of them in place.
KNOWN = (
    ((8, 5), (9, 8), "CVE-2024-6387: code execution before the login (regreSSHion)"),
    ((0, 0), (9, 6), "CVE-2023-48795: a man in the middle can cut messages (Terrapin)"),
    ((0, 0), (10, 3), "CVE-2026-35414: commas in principals are misread in principals= lists"),
    ((0, 0), (10, 3), "CVE-2026-35387: ECDSA entries of algorithm lists match too broadly"),
    ((0, 0), (10, 3), "certificates without principals pass through cert-authority lines of key files"),
    ((0, 0), (10, 6), "CVE-2026-106585, CVE-2026-106583, CVE-2026-110925: security fixes of 10.6"),
    ((10, 6, 0), (10, 6, 2), "CVE-2026-123158: a way past the password, on musl without PAM (SSHole)"),
)
BEHAVIOUR = (
    ((9, 8), (99, 0), "PerSourcePenalties are on by default; sessions are processes named sshd-session"),
    ((10, 1), (10, 2), "signing with a CA key in ssh-agent does not work"),
)


def check(place, report):
    """Report versions that are too old, and known problems of this one."""
    version = place.sshd.version
    if version and version < OLDEST:
        found = "%s; TMS-CA is made for 8.4 and later" % place.sshd.banner
        report.add("sshd_old", found, "upgrade openssh-server")
    known = [what for first, before, what in KNOWN if version and first <= version < before]
    if known:
        found = "%s: %s" % (place.sshd.banner, "; ".join(known))
        mend = "apt changelog openssh-server | grep -o 'CVE-[0-9-]*'  # or: rpm -q --changelog openssh-server"
        report.add("sshd_version", found, mend)
    for first, before, what in BEHAVIOUR:
        if version and first <= version < before:
            report.add("sshd_version", "%s: %s" % (place.sshd.banner, what), "")
    # Without arguments, one that can verify asks for the namespace, and an older one does not know the option.
    said = "".join(run(["ssh-keygen", "-Y", "verify"])[1:])
    if "verify" not in said and "namespace" not in said:
        found = "ssh-keygen -Y verify says: %s" % (said.strip().split("\n") or [""])[0]
        report.add("keygen_old", found, "upgrade openssh-client: 8.1 brought it")
