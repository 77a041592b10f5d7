"""Every code that doctor knows: how bad it is, and why it matters. docs/doctor.md has the same list, with the cures.

error: someone could get in who should not, or nobody can; warning: it will go wrong one day, or revocation is weaker
than it looks; note: worth knowing. Within a severity, the order here is the order of the report.
"""

CATALOGUE = {
    # The settings as a whole
    "sshd_refuses": (
        "error",
        "sshd does not take its own configuration: the next restart leaves nobody able to log in",
    ),
    "host_conf_missing": ("error", "without it the helper refuses every login"),
    "host_conf_bad": ("error", "the helper does not work with such a file: it refuses every login"),
    "token_missing": ("error", "without the host's credential the service answers no question: every login is refused"),
    "token_exposed": ("error", "whoever has the credential can pose as this host and learn who may log in here"),
    "token_unreadable": ("error", "the helper cannot read its credential: it refuses every login"),
    # Other ways in
    "authority_line": ("error", "sshd believes this CA without asking the helper: no revocation and no end counts"),
    "user_keys_file": (
        "error",
        "a key there needs no certificate, and a user's own cert-authority line bypasses the helper altogether",
    ),
    "principals_file": ("error", "sshd takes principals from this file too, without asking the service"),
    "keys_command_ca_lines": (
        "error",
        "sshd asks AuthorizedKeysCommand after the other helper said no; a CA line from it lets the certificate in",
    ),
    "keys_command_foreign": (
        "warning",
        "a key that this program prints needs no certificate, a CA line of it no helper",
    ),
    "strict_modes_off": ("warning", "sshd then uses key files that another user can write"),
    "password_open": ("note", "a password opens an account without any certificate"),
    # The helpers
    "principals_command_missing": (
        "error",
        "nobody asks the service: sshd compares principals with the account's name and misses every revocation",
    ),
    "principals_command_foreign": ("error", "another program than ours decides which certificates open an account"),
    "principals_command_no_arguments": ("error", "sshd gives the helper nothing at all: it refuses every certificate"),
    "principals_command_arguments": ("error", "the helper takes exactly these: with any others it refuses everybody"),
    "keys_command_arguments": ("error", "the helper takes exactly these: with any others it refuses every plain key"),
    "command_missing": ("error", "sshd cannot run it: every login by a certificate is refused"),
    "command_unsafe": (
        "error",
        "sshd does not run a program that anyone but root could change: every login is refused",
    ),
    "command_user_unknown": ("error", "sshd cannot become this user: every login by a certificate is refused"),
    "command_user_privileged": ("error", "a mistake in the helper would have the rights of root"),
    "command_user_shared": ("warning", "whatever else runs as this user can read the host's credential"),
    "command_order": (
        "error",
        "before OpenSSH 9.4, sshd does not read AuthorizedPrincipalsCommand below the other command",
    ),
    "helper_prints": (
        "error",
        "it said yes to a certificate that cannot be valid: something else answers in its place",
    ),
    "helper_fails": ("error", "sshd gets no yes from a helper that fails: every login by a certificate is refused"),
    "helper_slow": ("warning", "sshd asks twice for each login, and people wait for it"),
    "helper_time": ("note", "sshd asks twice for each login"),
    "match_changes": ("warning", "a Match block makes another rule for some accounts; it is easily overlooked"),
    # CA keys and the revocation list
    "user_ca_none": ("error", "sshd believes no certificate at all"),
    "user_ca_missing": ("error", "sshd finds no CA key there: it believes no certificate at all"),
    "user_ca_extra_key": ("error", "whoever holds this key can make certificates for every account, unknown to us"),
    "user_ca_absent_key": ("error", "certificates of this key are refused here"),
    "user_ca_other": ("warning", "nothing keeps this file up to date: after a change of CA keys nobody gets in"),
    "bundle_missing": ("warning", "nothing says which CA keys and which revocation list are the right ones"),
    "bundle_foreign": ("error", "this host trusts the CA keys of another tenant"),
    "bundle_broken": ("error", "the CA keys and the revocation list here may not be the service's"),
    "bundle_stale": ("warning", "this host does not hear of revocations and new CA keys any more"),
    "krl_missing": ("error", "sshd refuses every public key and certificate while it cannot read the list"),
    "krl_broken": ("error", "sshd refuses every public key and certificate while it cannot load the list"),
    "krl_closed": ("error", "tms-hostd has closed this host: sshd refuses every public key and certificate"),
    "krl_empty": ("error", "sshd takes a file of zero bytes for a list that revokes nothing"),
    "krl_none": ("warning", "revoked certificates are refused by the live question alone"),
    "krl_other": ("warning", "nothing keeps this file up to date: what is revoked now is not in it"),
    "krl_differs": ("warning", "this is not the list that the service signed for"),
    # Who can change what
    "path_unsafe": ("error", "whoever can change it decides who gets in"),
    "path_missing": ("warning", "it comes with tms-host join or with the package, so one of them is not complete"),
    # How sshd is set
    "pubkey_off": ("error", "a certificate is a public key to sshd: nobody gets in with one"),
    "algorithms_no_certificates": ("error", "sshd takes no certificate of any type that we make"),
    "algorithms_no_ca_type": ("error", "sshd refuses certificates that are signed with a key of this type"),
    "algorithms_ssh_rsa": ("warning", "ssh-rsa means SHA-1, whose collisions can be bought"),
    "grace_time": ("error", "sshd gives up before the helper does: a slow answer looks like a broken connection"),
    "max_startups": ("warning", "a gateway that logs in many times at once has its connections dropped at random"),
    "penalties": ("warning", "sshd shuts out a whole address after a few refusals: a gateway is one address"),
    "log_level": ("warning", "below VERBOSE the log does not say which certificate opened a session"),
    # Sessions
    "expose_auth_info": ("error", "the wrapper learns from it which certificate was used: without it, no session"),
    "pam_off": ("error", "host.conf says that PAM confirms logins, and sshd does not use PAM: none is confirmed"),
    "pam_line_missing": ("error", "host.conf says that PAM confirms logins, and nothing calls the hook: none is"),
    "pam_line_weak": ("error", "only `required` and `requisite` let the hook refuse a session"),
    "pam_line_left": (
        "error",
        "the hook asks for a confirmation that host.conf does not leave to it: with sessions = off no session begins",
    ),
    "force_command_missing": ("error", "host.conf says that the wrapper confirms logins, and sshd does not run it"),
    "wrapper_forwarding": ("warning", "the wrapper cannot see `ssh -N`: forwarding goes on without being announced"),
    "wrapper_sftp": ("warning", "no wrapper can start the sftp that is a part of sshd: files cannot be copied"),
    "force_command_left": (
        "error",
        "the wrapper asks for a confirmation that host.conf does not leave to it: no session begins",
    ),
    # Host certificates
    "host_certificate_missing": ("warning", "whoever connects for the first time has to believe the key unseen"),
    "host_certificate_broken": ("warning", "sshd does not offer it, so nobody can check this host's name"),
    "host_certificate_ended": ("error", "every client that trusts our CA is warned of a wrong host, and scripts stop"),
    "host_certificate_ends": ("warning", "tms-hostd renews it at two thirds of its life, and has not"),
    "host_certificate_name": ("warning", "who types this name is warned of a wrong host"),
    # The service
    "service_unreachable": ("error", "no address of the service answers: logins are refused, or rest on old answers"),
    "address_unreachable": ("warning", "this address cannot take over when another fails"),
    "tls_refused": ("error", "the helper does not talk to a service whose certificate it cannot check"),
    "tls_ends": ("warning", "when the service's certificate ends, every login is refused"),
    "service_slow": ("warning", "every login waits for this, twice"),
    "token_refused": ("error", "the service does not know this host any more: every login is refused"),
    "clock_off": ("error", "certificates live for minutes: they look too new or ended here, and are refused"),
    "clock_drifts": ("warning", "certificates begin 60 seconds in the past at the most: beyond that they are refused"),
    "daemon_silent": (
        "warning",
        "without tms-hostd no revocation list and no CA key is renewed, and logins are slower",
    ),
    "daemon_unwell": ("warning", "tms-hostd itself says that something is wrong"),
    # The account
    "account_unknown": ("error", "sshd refuses an account that does not exist, and does not even ask the helper"),
    "account_locked": ("error", "without PAM sshd refuses an account whose password field begins with `!`"),
    "account_expired": ("error", "sshd refuses an account that has ended"),
    "account_shell": ("error", "sshd refuses an account whose shell is not there or cannot be run"),
    "account_home": ("warning", "the session begins in / and most programs fail"),
    "account_shell_closed": ("warning", "the login works, and the session ends at once"),
    "account_not_allowed": ("error", "sshd refuses accounts that its lists leave out, without asking the helper"),
    "nologin_present": ("error", "while this file is there, sshd or PAM lets in root alone"),
    # The programs
    "sshd_old": ("warning", "this version cannot do all that TMS-CA relies on"),
    "sshd_version": ("note", "a known problem of this version; the distribution may have mended it"),
    "keygen_old": ("error", "tms-hostd checks the CA keys with `ssh-keygen -Y verify`; without it nothing is renewed"),
    # Doctor itself
    "check_failed": ("warning", "this part could not be judged"),
    "check_hung": ("warning", "this part could not be judged in time; something there may hold up logins too"),
}
