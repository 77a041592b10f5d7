"""One thing wrong, one finding: each change is made to a host that is well, which test_well.py shows to have none."""

import pytest

from keycmd.doctor.catalogue import CATALOGUE
from keycmd.hostd.trust import REFUSES_ALL
from tests.doctor.host import INSIDE, RUN, Host
from tests.doctor.test_well import NOTES

HELPER = f"{INSIDE}/usr/libexec/tms/tms-principals"
CONFIGURED = f"{HELPER} --config {INSIDE}/host.conf"
KEYS = f"{INSIDE}/usr/libexec/tms/tms-keycmd"
KEYS_LINE = f"AuthorizedKeysCommand {KEYS} %u %U %f %t"
KEYS_USER = "AuthorizedKeysCommandUser tms-host"
A_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ0AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
PAM = "/usr/libexec/tms/tms-session"
WRAPPED = f"conf sessions = wrapper; first ForceCommand {PAM} --wrap; first ExposeAuthInfo yes"
NO_FORWARDING = "first AllowTcpForwarding no; first AllowStreamLocalForwarding no"
SSHD_SAYS = "cp /usr/sbin/sshd real; printf '#!/bin/sh\\n%s\\n' '{}' | in_place_of /usr/sbin/sshd"


def newer(lines: str) -> str:
    """A change that makes sshd 9.8 of this one: what that one prints of its penalties, from servconf.c."""
    return SSHD_SAYS.format(
        f'case $1 in -V) echo "OpenSSH_9.8p1, OpenSSL 3.2" >&2;; *) {INSIDE}/real "$@" && printf "{lines}";; esac'
    )


CLOSED = REFUSES_ALL.decode().replace("\0", "\\0").replace("\n", "\\n")
PENALTIES = "persourcepenalties crash:90 authfail:5 noauth:1 grace-exceeded:20 max:600 min:15\\\\n"

# Without host.conf the places are the usual ones, and there is nothing in them.
AWAY = {"bundle_missing", "daemon_silent", "krl_other", "user_ca_other"}

# code, the change in shell, and what else is then truly wrong
CASES = [
    ("sshd_refuses", "first NoSuchKeyword yes", {"command_missing"}),
    ("host_conf_missing", "rm host.conf token", AWAY | {"helper_fails"}),
    ("host_conf_bad", "conf timeout_seconds = forever", {"helper_fails"}),
    ("host_conf_bad", "conf nonsense = 1", {"helper_fails"}),
    ("token_missing", "rm token", {"helper_fails"}),
    ("token_exposed", "chmod 444 token", {"helper_fails"}),
    ("token_unreadable", "chown 0 token; chmod 400 token", {"helper_fails"}),
    # Ways in
    ("user_keys_file", "first AuthorizedKeysFile .ssh/authorized_keys", set()),
    ("user_keys_file", "first AuthorizedKeysFile %h/keys", set()),
    ("user_keys_file", f"mkdir -m 777 keysdir; first AuthorizedKeysFile {INSIDE}/keysdir/%u", set()),
    ("principals_file", "first AuthorizedPrincipalsFile %h/.principals", set()),
    ("keys_command_ca_lines", f"last {KEYS_LINE}; last {KEYS_USER}; conf ca_lines = yes", set()),
    ("keys_command_foreign", f"last AuthorizedKeysCommand /bin/true; last {KEYS_USER}", set()),
    ("strict_modes_off", "first StrictModes no", set()),
    ("password_open", "first PasswordAuthentication yes", set()),
    ("password_open", "first KbdInteractiveAuthentication yes", set()),
    # The commands
    ("principals_command_missing", "only AuthorizedPrincipalsCommand none", set()),
    ("principals_command_foreign", "only AuthorizedPrincipalsCommand /bin/true %u", set()),
    ("principals_command_no_arguments", f"only AuthorizedPrincipalsCommand {CONFIGURED}", {"helper_fails"}),
    ("principals_command_no_arguments", f"only AuthorizedPrincipalsCommand {HELPER}", {"helper_fails"}),
    ("principals_command_arguments", f"only AuthorizedPrincipalsCommand {CONFIGURED} %u %i %s", {"helper_fails"}),
    ("principals_command_arguments", f"only AuthorizedPrincipalsCommand {CONFIGURED} %t %u %k", {"helper_fails"}),
    ("keys_command_arguments", f"last AuthorizedKeysCommand {KEYS} %u; last {KEYS_USER}", set()),
    ("command_missing", f"rm {HELPER}", set()),
    ("command_missing", f"chmod 644 {HELPER}", {"helper_fails"}),
    ("command_unsafe", f"chmod 775 {HELPER}", set()),
    ("command_unsafe", f"chown alice {HELPER}", set()),
    ("command_unsafe", "chmod 777 usr/libexec", set()),
    ("command_unsafe", f"mkdir -m 777 open; mv {HELPER} open/x; ln -s ../../../open/x {HELPER}", set()),
    ("command_user_unknown", "first AuthorizedPrincipalsCommandUser nobody-of-ours", set()),
    ("command_user_privileged", "first AuthorizedPrincipalsCommandUser root", {"token_unreadable", "path_unsafe", "helper_fails"}),
    ("command_user_shared", "first AuthorizedPrincipalsCommandUser other; chown -R other state run token", set()),
    ("command_user_shared", "edit /etc/passwd '/^tms-host/s,/usr.*,/bin/sh,'", set()),
    ("command_order", f"first {KEYS_LINE}; first {KEYS_USER}", set()),
    ("helper_prints", f"printf '#!/bin/sh\\necho root\\n' >{HELPER}", set()),
    ("helper_fails", f"printf '#!/bin/sh\\nexit 3\\n' >{HELPER}", set()),
    ("helper_slow", f"printf '#!/bin/sh\\nsleep 1.1\\n' >{HELPER}", {"helper_fails"}),
    ("match_changes", "last Match User alice; last LogLevel INFO", {"log_level"}),
    ("match_changes", "last Match User alice; last AuthorizedPrincipalsCommand none", {"principals_command_missing"}),
    ("match_changes", "last Match Address 192.0.2.0/24 User alice; last RevokedKeys none", {"krl_none"}),
    # CA keys and the revocation list
    ("user_ca_none", "without TrustedUserCAKeys", set()),
    ("user_ca_missing", "rm state/user_ca.pub", {"path_missing"}),
    ("user_ca_missing", ": >state/user_ca.pub", {"user_ca_absent_key"}),
    ("user_ca_extra_key", f"echo '{A_KEY} mallory' >>state/user_ca.pub", set()),
    ("user_ca_absent_key", f"echo '{A_KEY}' >state/user_ca.pub", {"user_ca_extra_key"}),
    ("user_ca_other", f"cp state/user_ca.pub ca.pub; first TrustedUserCAKeys {INSIDE}/ca.pub", set()),
    ("bundle_missing", "rm state/trust.json", {"path_missing"}),
    ("bundle_missing", "head -c 100 state/trust.json >x; cp x state/trust.json", set()),
    ("bundle_broken", "sed -i 's/epoch.....5/epoch\\\\\":\\\\\"6/' state/trust.json", set()),
    ("bundle_broken", f"echo '{A_KEY}' >state/host_ca.pub", set()),
    ("bundle_foreign", "conf tenant = another", {"token_refused", "helper_fails"}),
    ("krl_missing", "rm state/krl", {"path_missing"}),
    ("krl_broken", "head -c 30 state/krl >x; cp x state/krl", set()),
    ("krl_closed", f'printf "%b" "{CLOSED}" >state/krl', set()),
    ("krl_broken", "echo garbage >state/krl", set()),
    ("krl_empty", ": >state/krl", set()),
    ("krl_none", "first RevokedKeys none", set()),
    ("krl_other", f"cp state/krl krl; first RevokedKeys {INSIDE}/krl", set()),
    ("krl_differs", "ssh-keygen -q -k -f state/krl -z 6; chown tms-host state/krl", set()),
    # Who can change what
    ("path_unsafe", "chmod 666 host.conf", {"host_conf_bad", "helper_fails"}),
    ("path_unsafe", "chmod 777 state", set()),
    ("path_unsafe", "chown alice state/user_ca.pub", set()),
    ("path_unsafe", "chmod 666 sshd_config", set()),
    ("path_unsafe", "chmod 666 first.conf", set()),
    ("path_unsafe", f"chmod 666 {RUN}/ask.sock", set()),
    ("path_unsafe", f"chmod 777 {RUN}", set()),
    ("path_missing", "rm state/host_ca.pub", {"bundle_broken"}),
    # How sshd is set
    ("pubkey_off", "first PubkeyAuthentication no", set()),
    ("algorithms_no_certificates", "first PubkeyAcceptedAlgorithms ssh-ed25519", set()),
    ("algorithms_no_ca_type", "first CASignatureAlgorithms rsa-sha2-512", set()),
    ("algorithms_ssh_rsa", "first CASignatureAlgorithms ssh-ed25519,ssh-rsa", set()),
    ("grace_time", "first LoginGraceTime 5", set()),
    ("max_startups", "without MaxStartups", set()),
    ("max_startups", "only MaxStartups 10", set()),
    ("penalties", newer(PENALTIES + "persourcepenaltyexemptlist none\\\\n"), set()),
    ("log_level", "first LogLevel INFO", set()),
    # Sessions
    ("expose_auth_info", f"{NO_FORWARDING}; conf sessions = wrapper; first ForceCommand {PAM} --wrap", set()),
    ("pam_off", f"conf sessions = pam; echo 'session required pam_exec.so quiet {PAM}' >>/etc/pam.d/sshd", set()),
    ("pam_line_missing", "conf sessions = pam; first UsePAM yes", set()),
    ("pam_line_weak", f"conf sessions = pam; first UsePAM yes; echo 'session optional pam_exec.so {PAM}' >>/etc/pam.d/sshd", set()),
    ("pam_line_left", f"echo 'session required pam_exec.so quiet {PAM}' >>/etc/pam.d/sshd", set()),
    ("force_command_missing", f"{NO_FORWARDING}; conf sessions = wrapper; first ExposeAuthInfo yes", set()),
    ("wrapper_forwarding", f"{WRAPPED}; first AllowStreamLocalForwarding no", set()),
    ("wrapper_forwarding", f"{WRAPPED}; first AllowTcpForwarding no", set()),
    ("wrapper_sftp", f"{WRAPPED}; {NO_FORWARDING}; first Subsystem sftp internal-sftp", set()),
    ("force_command_left", f"first ForceCommand {PAM} --wrap", set()),
    # Host certificates
    ("host_certificate_missing", "without HostCertificate", set()),
    ("host_certificate_broken", "echo x >state/host-certs/host_key-cert.pub", {"host_certificate_missing", "sshd_refuses"}),
    # The service
    ("service_unreachable", "conf url = http://127.0.0.1:1", {"helper_fails"}),
    ("service_unreachable", "conf url = nonsense", {"host_conf_bad", "helper_fails"}),
    ("service_unreachable", "conf url = https://no-such-name.invalid; conf ca_file = system", {"helper_fails"}),
    ("address_unreachable", "sed -i '/^url/s,$, http://127.0.0.1:1,' host.conf", set()),
    ("token_refused", "echo tms_h_0123456789abcdefghijklmnopqrstuvwxyzABCDEF0 >token", {"helper_fails"}),
    ("token_refused", "conf host = h2", {"helper_fails"}),
    # The daemon
    ("daemon_silent", f"rm {RUN}/ask.sock", set()),
    ("daemon_silent", "echo 'failed it does not know' >daemon.txt", set()),
    ("daemon_silent", "echo 'json' >daemon.txt", set()),
    ("daemon_unwell", "printf 'json\\n{\"service_error\":\"refused\"}\\n' >daemon.txt", set()),
    ("daemon_unwell", "printf 'json\\n{\"trust\":{\"problem\":\"older\"}}\\n' >daemon.txt", set()),
    ("daemon_unwell", "printf 'json\\n{\"report\":{\"sent_at\":1000}}\\n' >daemon.txt", set()),
    ("daemon_unwell", "printf 'json\\n{\"certificates\":{\"sshd\":\"no pid\"}}\\n' >daemon.txt", set()),
    # The account
    ("account_locked", "edit /etc/shadow 's/^alice:[*]/alice:!/'", set()),
    ("account_expired", "edit /etc/shadow 's/^alice:.*/alice:*:19000:0:99999:7::100:/'", set()),
    ("account_shell", "edit /etc/passwd '/^alice:/s,/bin/sh,/bin/no-such-shell,'", set()),
    ("account_shell_closed", "edit /etc/passwd '/^alice:/s,/bin/sh,/usr/sbin/nologin,'", set()),
    ("account_home", "rm -r home/alice", set()),
    ("account_not_allowed", "first AllowUsers bob carol", set()),
    ("account_not_allowed", "first DenyUsers ali*", set()),
    ("account_not_allowed", "first AllowGroups wheel", set()),
    ("nologin_present", "touch /run/nologin", set()),
    # The programs
    ("sshd_old", SSHD_SAYS.format(f'[ "$1" = -V ] && echo "OpenSSH_8.0p1" >&2 || {INSIDE}/real "$@"'), set()),
    ("keygen_old", ("cp /usr/bin/ssh-keygen kg; printf '#!/bin/sh\\n%s\\n' 'case $1 in -Y) echo unknown option -- Y >&2; exit 1;;"
     f" *) exec {INSIDE}/kg \"$@\";; esac' | in_place_of /usr/bin/ssh-keygen"), {"bundle_broken"}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "change", "also"), CASES, ids=[f"{case[0]}-{n}" for n, case in enumerate(CASES)])
def test_one_thing_wrong_is_one_finding(host: Host, code, change, also):
    slow = {("helper", "SLOW_SECONDS"): 1.0, ("helper", "TIMES"): 1}
    seen = host.doctor(change, times=slow if code == "helper_slow" else None)
    assert code in seen.codes, seen.out
    assert seen.codes - NOTES - {code} <= also, seen.out
    severity, why = CATALOGUE[code]
    assert all(
        (found["severity"], found["why"]) == (severity, why) for found in seen.json["findings"] if found["code"] == code
    )
    assert all(found["mend"] for found in seen.json["findings"] if found["severity"] != "note"), seen.out
    worst = {CATALOGUE[one][0] for one in seen.codes}
    assert seen.status == (2 if "error" in worst else 1 if "warning" in worst else 0)


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("pam_line_left", f"echo 'session required pam_exec.so quiet {PAM}' >>/etc/pam.d/sshd"),
        ("force_command_left", f"first ForceCommand {PAM} --wrap"),
    ],
)
def test_a_hook_that_refuses_everybody_is_an_error(host: Host, code, change):
    assert host.doctor(change).one(code)["severity"] == "error"


@pytest.mark.parametrize("mode", ["off", "pam"])
def test_users_may_connect_to_the_sessions_socket_only_with_the_wrapper(host: Host, mode):
    path = f"{RUN}/session.sock"
    made = f"python3 -c 'import socket as s; s.socket(s.AF_UNIX).bind(\"{path}\")'; chown tms-host {path}; chmod 666 {path}"
    seen = host.doctor(f"conf sessions = {mode}; {made}")
    assert f"{path} has mode 0666" in seen.one("path_unsafe")["found"]
    assert "path_unsafe" not in host.doctor(f"conf sessions = {mode}; {made}; chmod 600 {path}").codes
    assert "path_unsafe" not in host.doctor(f"conf sessions = wrapper; {made}").codes
