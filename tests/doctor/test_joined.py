"""Doctor on a host that has really joined the real service, with the real daemon: from the invitation to `well`."""

from deploy.sandbox_sshd import free_port
from tests.doctor.host import INSIDE, Host
from tests.doctor.test_well import NOTES
from tests.ssh.service import Service

ROOT = f"{INSIDE}/root"
BASE = """\
HostKey {root}/etc/ssh/ssh_host_ed25519_key
Port {port}
ListenAddress 127.0.0.1
PidFile /run/sshd.pid
UsePAM no
AuthorizedKeysFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
MaxStartups 100:30:300
"""
JOIN = """
mkdir -p {root}/etc/ssh
mv host_key {root}/etc/ssh/ssh_host_ed25519_key; mv host_key.pub {root}/etc/ssh/ssh_host_ed25519_key.pub
usr/sbin/tms-host join --root {root} {url} {token} --host-ca {pin} --name login1 >lines
{base}
sed -n 's/^ *\\(\\(HostCertificate\\|TrustedUser\\|Revoked\\|CASig\\|LogLevel\\|AuthorizedPrincipals\\).*\\)/\\1/p' lines >>sshd_config
sed -i 's,/tms-principals,& --config {conf},' sshd_config
/usr/sbin/sshd -f {inside}/sshd_config -E sshd.log
{daemon}
"""
DAEMON = """
setpriv --reuid=tms-host --regid=tms-host --clear-groups usr/sbin/tms-hostd --config {conf} >/dev/null 2>daemon.log </dev/null &
n=0; until grep -q sent_at status 2>/dev/null; do
  sleep 0.1; n=$((n + 1)); [ $n -lt 600 ] || {{ cat daemon.log lines status >&2; exit 7; }}
  usr/sbin/tms-host status --root {root} --json >status 2>&1 || true
done
"""
CONF = f"{ROOT}/etc/tms/host.conf"


def joined(host: Host, service: Service, daemon: str = DAEMON, then: str = ""):
    """Join h1, start the daemon, wait for its first report; then ask doctor."""
    invited = service.good("POST", "hosts/h1/join-tokens", service.operator, {})
    base = "".join(
        f"echo '{line}' >>sshd_config.new\n" for line in BASE.format(root=ROOT, port=free_port()).splitlines()
    )
    change = JOIN.format(
        root=ROOT, inside=INSIDE, conf=CONF, url=service.url, token=invited["join_token"],
        pin=invited["host_ca_fingerprints"][0], base=f": >sshd_config.new; {base} mv sshd_config.new sshd_config",
        daemon=daemon.format(root=ROOT, conf=CONF),
    )  # fmt: skip
    return host.doctor(change + then, "--config", CONF)


def test_a_host_that_has_just_joined_is_well(host: Host, joining: Service):
    seen = joined(host, joining)
    assert seen.codes <= NOTES, seen.out
    assert "helper_time" in seen.codes
    assert seen.status == 0


def test_without_its_daemon_it_still_asks_the_service(host: Host, joining: Service):
    seen = joined(host, joining, daemon="")
    assert seen.codes - NOTES == {"daemon_silent"}, seen.out
    assert seen.status == 1


def test_a_credential_that_the_service_does_not_know_is_named(host: Host, joining: Service):
    token = "tms_h_" + "A" * 43
    seen = joined(host, joining, daemon="", then=f"chmod 600 {ROOT}/etc/tms/token; echo {token} >{ROOT}/etc/tms/token")
    assert "token_refused" in seen.codes, seen.out
    assert seen.status == 2
