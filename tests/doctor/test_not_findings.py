"""What is well although it looks like something that is not: the twins of test_findings.py."""

import pytest

from tests.doctor.host import INSIDE, STATE, Host, keygen
from tests.doctor.test_findings import A_KEY, KEYS_LINE, KEYS_USER, NO_FORWARDING, PAM, PENALTIES, WRAPPED, newer
from tests.doctor.test_well import NOTES

FIRST_COMMAND = "sed -n '/^AuthorizedPrincipals/p' sshd_config >>first.conf; "


@pytest.mark.parametrize(
    "change",
    [
        # A key file that only root writes, and in it what would be a bypass in a user's hands
        f"mkdir -m 755 keysdir; echo '{A_KEY}' >keysdir/alice; first AuthorizedKeysFile {INSIDE}/keysdir/%u",
        "first AuthorizedPrincipalsFile none",
        f"{FIRST_COMMAND} last {KEYS_LINE}; last {KEYS_USER}",
        f"{FIRST_COMMAND} last {KEYS_LINE}; last {KEYS_USER}; conf ca_lines = no",
        "first PubkeyAcceptedAlgorithms ssh-ed25519,ssh-ed25519-cert-v01@openssh.com",
        "first CASignatureAlgorithms rsa-sha2-512,ssh-ed25519",
        "first LoginGraceTime 0",
        "first LoginGraceTime 60",
        "first MaxStartups 200",
        "first LogLevel DEBUG1",
        "last Match User bob; last LogLevel QUIET; last AuthorizedPrincipalsCommand none",
        f"ln -s {STATE}/krl krl; first RevokedKeys {INSIDE}/krl",
        f"{WRAPPED}; {NO_FORWARDING}; first Subsystem sftp /usr/lib/openssh/sftp-server",
        f"{WRAPPED}; first DisableForwarding yes",
        "first Subsystem sftp internal-sftp; first AllowTcpForwarding yes",
        f"conf sessions = pam; first UsePAM yes; echo 'session required pam_exec.so quiet {PAM}' >>/etc/pam.d/sshd",
        f"echo '# session required pam_exec.so quiet {PAM}' >>/etc/pam.d/sshd",
        (
            f"echo 'session requisite pam_exec.so {PAM}' >/run/etc/x; mv /run/etc/x /run/x; "
            "conf sessions = pam; first UsePAM yes; echo '@include ../../run/x' >>/etc/pam.d/sshd"
        ),
        "first AllowUsers bob alice; first DenyUsers carol",
        "first AllowGroups alice",
        "edit /etc/shadow 's/^alice:[*]/alice:!/'; first UsePAM yes",
        "edit /etc/shadow 's/^alice:.*/alice:*:19000:0:99999:7::99999:/'",
        newer("persourcepenalties no\\\\n"),
        newer(PENALTIES + "persourcepenaltyexemptlist 10.0.0.0/8\\\\n"),
        'printf \'json\\n{"trust":{"problem":null},"service_error":null}\\n\' >daemon.txt',
        "chmod 700 state/host-certs; chmod 600 state/trust.json",
        "chmod 440 token; chmod 400 token",
    ],
)
def test_what_is_right_is_no_finding(host: Host, change):
    seen = host.doctor(change)
    assert seen.codes <= NOTES, seen.out
    assert seen.status == 0


def test_a_ca_key_of_rsa_wants_its_own_algorithms(host):
    keygen("-t", "rsa", "-b", "3072", "-N", "", "-C", "", "-f", host.directory / "rsa")
    key = " ".join((host.directory / "rsa.pub").read_text().split()[:2])
    both = [" ".join(host.user_ca.lines.split()[:2]), key]
    (host.directory / "state/user_ca.pub").write_text("".join(one + "\n" for one in both))
    host.sign(user_ca_keys=both)
    assert host.doctor().codes - NOTES == {"algorithms_no_ca_type"}
    assert host.doctor("first CASignatureAlgorithms ssh-ed25519,rsa-sha2-256").codes <= NOTES


def test_an_exempt_list_counts_for_the_addresses_in_it(host):
    change = newer(PENALTIES + "persourcepenaltyexemptlist 10.0.0.0/8,!10.9.0.0/16\\\\n")
    assert host.doctor(change, "--address", "10.1.2.3").codes <= NOTES
    for outside in ("192.0.2.7", "10.9.0.1"):
        seen = host.doctor(change, "--address", outside)
        assert outside in seen.one("penalties")["mend"]


def test_a_match_by_address_is_seen_from_that_address(host):
    change = "last Match Address 10.0.0.0/8; last LogLevel QUIET"
    assert host.doctor(change, "--address", "192.168.1.1").codes <= NOTES
    assert host.doctor(change, "--address", "10.1.2.3").codes - NOTES == {"log_level"}
