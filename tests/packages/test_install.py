"""Install, upgrade, remove and purge with the real dpkg and the real rpm, on a copy of this machine."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from deploy.build_host import HostFile, host_files
from deploy.host.deb import write_deb
from deploy.host.rpm import write_rpm
from deploy.host_packages import LONG_AGO
from tests.packages.conftest import VERSION

OWNERS = "stat -c '%U:%G %a %n' "
JOINED = """
cat >/etc/tms/host.conf <<'END'
url = https://192.0.2.1
tenant = default
host = h1
token_file = /etc/tms/token
ca_file = system
timeout_seconds = 0.5
END
echo tms_h_0123456789abcdefghijklmnopqrstuvwxyzABCDEF0 >/etc/tms/token; echo PEM >/etc/tms/service-ca.pem
chown tms-host:tms-host /etc/tms/token; chmod 400 /etc/tms/token
for name in krl user_ca.pub trust.json; do echo old >/var/lib/tms-host/$name; done
chown -R tms-host:tms-host /var/lib/tms-host
"""
ASK = "setpriv --reuid tms-host --regid tms-host --clear-groups /usr/libexec/tms/tms-principals "
HELPER = "/usr/libexec/tms/tms-principals"


def deb(packages: Path) -> Path:
    return packages / f"tms-host_{VERSION}_all.deb"


def newer(marker: str) -> list[HostFile]:
    """The files of a later version: of the same size and time, so that nothing but the content tells them apart."""
    files = []
    for file in host_files():
        content = file.content
        if file.target == "/usr/lib/tms-host/keycmd/__init__.py":
            content = (f"VERSION = {marker!r}\n" + "#" * 200)[: len(content) - 1].encode() + b"\n"
        files.append(replace(file, content=content))
    return files


def test_an_installation_is_whole_and_refuses_until_it_has_joined(packages, machine):
    said = machine.run('dpkg -i "$1"', machine.put(deb(packages)))
    assert "Setting up tms-host" in said
    assert machine.run("getent passwd tms-host").split(":")[5:] == ["/var/lib/tms-host", "/usr/sbin/nologin\n"]
    assert machine.run("passwd -S tms-host").split()[1] == "L"  # no password opens it
    shown = machine.run(OWNERS + "/etc/tms /var/lib/tms-host /run/tms-host /usr/libexec /usr/libexec/tms " + HELPER)
    assert shown.splitlines() == [
        "root:root 755 /etc/tms",
        "tms-host:tms-host 755 /var/lib/tms-host",
        "tms-host:tms-host 755 /run/tms-host",
        "root:root 755 /usr/libexec",
        "root:root 755 /usr/libexec/tms",
        f"root:root 755 {HELPER}",
    ]
    assert (
        machine.run("find /usr/lib/tms-host /usr/libexec/tms /usr/sbin/tms-* ! -user root -o -perm /022").strip() == ""
    )
    assert machine.run("ls /usr/lib/tms-host/keycmd/__pycache__/config.*.pyc").strip()
    # The helper of a host that has not joined: nothing on its output, and a failure that sshd logs.
    assert machine.run(ASK + "alice ssh-ed25519-cert-v01@openssh.com AAAA", status=1) == ""
    assert "python3" in machine.run("head -n 1 /usr/sbin/tms-hostd")


def test_the_daemon_is_not_for_a_host_that_has_not_joined(packages, machine):
    machine.run('dpkg -i "$1"', machine.put(deb(packages)))
    unit = machine.run("cat /usr/lib/systemd/system/tms-hostd.service")
    assert "ConditionPathExists=/etc/tms/host.conf" in unit
    assert machine.run("find /etc/systemd -name 'tms-hostd*'") == ""


def test_an_upgrade_keeps_what_the_join_made_and_runs_the_new_code(packages, machine, tmp_path):
    machine.run('dpkg -i "$1"', machine.put(write_deb(tmp_path, newer("old"), "0.0.8", LONG_AGO)))
    machine.run(JOINED + "echo '# mine' >>/etc/tms/host.conf.example")
    version = "cd /; python3 -I -c 'import sys; sys.path.insert(0, \"/usr/lib/tms-host\"); import keycmd; print(keycmd.VERSION)'"
    before = machine.run(OWNERS + "/etc/tms/* /var/lib/tms-host/*; sha256sum /etc/tms/* /var/lib/tms-host/*")
    assert machine.run(version) == "old\n"
    said = machine.run(
        'dpkg --force-confold -i "$1"', machine.put(write_deb(tmp_path, newer("new"), "0.0.9", LONG_AGO))
    )
    assert "Unpacking tms-host (0.0.9) over (0.0.8)" in said
    assert machine.run(OWNERS + "/etc/tms/* /var/lib/tms-host/*; sha256sum /etc/tms/* /var/lib/tms-host/*") == before
    # Python compares time and size only: without care the old byte code would go on running.
    assert machine.run(version) == "new\n"
    assert machine.run("python3 -I -c 'import sys; sys.path.insert(0, \"/usr/lib/tms-host\"); import keycmd; print(keycmd.__cached__)'; "
                      "ls /usr/lib/tms-host/keycmd/__pycache__/ | grep -c __init__").endswith("\n1\n")  # fmt: skip


def test_a_removal_leaves_what_the_join_made_and_a_purge_leaves_nothing(packages, machine):
    machine.run('dpkg -i "$1"', machine.put(deb(packages)))
    machine.run(JOINED)
    machine.run(
        "python3 -I -S -B /usr/sbin/tms-host --help >/dev/null 2>&1 || :; python3 -I -S /usr/sbin/tms-host --help || :"
    )
    said = machine.run("dpkg -r tms-host")
    assert "not empty" not in said
    assert machine.run("ls /etc/tms /var/lib/tms-host").split() == [
        "/etc/tms:", "host.conf", "host.conf.example", "service-ca.pem", "token", "/var/lib/tms-host:", "krl", "trust.json", "user_ca.pub",
    ]  # fmt: skip
    assert machine.run("ls -d /usr/lib/tms-host /usr/libexec/tms /usr/sbin/tms-host* 2>/dev/null || :") == ""
    machine.run("dpkg --purge tms-host")
    assert machine.ours() == []
    assert machine.run("getent passwd tms-host").startswith("tms-host:")  # its number shall never be another's


def test_removing_says_who_still_asks_us(packages, machine):
    machine.run('dpkg -i "$1"', machine.put(deb(packages)))
    machine.run("cp /usr/share/tms-host/50-tms.conf /etc/ssh/sshd_config.d/50-tms.conf")
    assert "/etc/ssh/sshd_config.d/50-tms.conf" in machine.run("dpkg -r tms-host")


LINES_THAT_END_LOGINS = {
    "/etc/pam.d/sshd": "session required pam_exec.so quiet /usr/libexec/tms/tms-session",
    "/etc/ssh/sshd_config.d/60-sessions.conf": "ForceCommand /usr/libexec/tms/tms-session --wrap",
}


@pytest.mark.parametrize("file", LINES_THAT_END_LOGINS)
def test_nobody_is_locked_out_by_a_removal(packages, machine, tmp_path, file):
    """With a line that runs our program at each login the package stays; an upgrade, or a comment, is no removal."""
    line = LINES_THAT_END_LOGINS[file]
    machine.run('dpkg -i "$1"', machine.put(write_deb(tmp_path, newer("old"), "0.0.8", LONG_AGO)))
    machine.run(JOINED + f"echo '# above' >{file}; echo '{line}' >>{file}; touch /etc/tms/mine")
    machine.run('dpkg -i "$1"', machine.put(write_deb(tmp_path, newer("new"), "0.0.9", LONG_AGO)))
    for removal in ("dpkg -r tms-host", "dpkg --purge tms-host"):
        said = machine.run(removal, status=1)
        assert f"{file}:2:{line}" in said
        assert "not removed" in said
    said = machine.run("dpkg-query -W -f '${db:Status-Status}' tms-host; test -x /usr/libexec/tms/tms-session")
    assert said == "installed"
    machine.run(f"sed -i 's/^session/# session/; s/^Force/# Force/' {file}; dpkg -r tms-host")
    machine.run("test ! -e /usr/libexec/tms/tms-session")


def test_an_rpm_locks_nobody_out_either(packages, machine, tmp_path):
    if shutil.which("rpm") is None:
        pytest.skip("rpm is missing: deploy/debian-packages.sh hosts")
    machine.run('rpm --initdb; rpm -i --nodeps "$1"', machine.put(write_rpm(tmp_path, newer("old"), "0.0.8", LONG_AGO)))
    machine.run(f"echo '{LINES_THAT_END_LOGINS['/etc/pam.d/sshd']}' >/etc/pam.d/sshd")
    machine.run('rpm -U --nodeps "$1"', machine.put(write_rpm(tmp_path, newer("new"), "0.0.9", LONG_AGO)))
    assert "/etc/pam.d/sshd:1:session required" in machine.run("rpm -e --nodeps tms-host", status=1)
    machine.run("rpm -q tms-host; test -x /usr/libexec/tms/tms-session; : >/etc/pam.d/sshd; rpm -e --nodeps tms-host")
    machine.run("test ! -e /usr/libexec/tms/tms-session")


def test_a_purge_takes_the_file_of_the_join_out_of_sshds_way(packages, machine):
    machine.run('mkdir -p /run/sshd; ssh-keygen -A >/dev/null; dpkg -i "$1"', machine.put(deb(packages)))
    machine.run(JOINED + "cp /usr/share/tms-host/50-tms.conf /etc/ssh/sshd_config.d/50-tms.conf")
    assert "/var/lib/tms-host/krl" in machine.run("sshd -T | grep -i revokedkeys")
    machine.run("dpkg --purge tms-host")
    assert machine.run("sshd -T | grep -i revokedkeys").split() == ["revokedkeys", "none"]
    assert machine.ours() == []


def test_a_purge_leaves_the_files_without_which_sshd_would_let_nobody_in(packages, machine):
    """The negative twin: lines that an administrator wrote elsewhere. sshd refuses every key without its KRL."""
    machine.run('mkdir -p /run/sshd; ssh-keygen -A >/dev/null; dpkg -i "$1"', machine.put(deb(packages)))
    machine.run(JOINED + "echo 'RevokedKeys /var/lib/tms-host/krl' >/etc/ssh/sshd_config.d/10-site.conf")
    assert "they stay" in machine.run("dpkg --purge tms-host")
    assert machine.run("ls /var/lib/tms-host").split() == ["krl", "user_ca.pub"]
    assert machine.run("stat -c %U /var/lib/tms-host/krl") == "root\n"
    assert machine.run("ls /etc/tms 2>/dev/null || :") == ""


def test_an_rpm_installs_upgrades_and_goes(packages, machine, tmp_path):
    """--nodeps, because rpm's own database on a Debian machine is empty."""
    if shutil.which("rpm") is None:
        pytest.skip("rpm is missing: deploy/debian-packages.sh hosts")
    machine.run('rpm --initdb; rpm -i --nodeps "$1"', machine.put(write_rpm(tmp_path, newer("old"), "0.0.8", LONG_AGO)))
    machine.run(JOINED)
    assert machine.run(OWNERS + f"{HELPER} /var/lib/tms-host").splitlines() == [
        f"root:root 755 {HELPER}", "tms-host:tms-host 755 /var/lib/tms-host",
    ]  # fmt: skip
    assert machine.run(ASK + "alice ssh-ed25519-cert-v01@openssh.com AAAA", status=1) == ""
    machine.run('rpm -U --nodeps "$1"', machine.put(write_rpm(tmp_path, newer("new"), "0.0.9", LONG_AGO)))
    assert machine.run("rpm -V --nodeps tms-host") == ""
    version = (
        "python3 -I -c 'import sys; sys.path.insert(0, \"/usr/lib/tms-host\"); import keycmd; print(keycmd.VERSION)'"
    )
    assert machine.run(version) == "new\n"
    assert machine.run("ls /etc/tms").split() == ["host.conf", "host.conf.example", "service-ca.pem", "token"]
    machine.run("rpm -e --nodeps tms-host")
    assert machine.run("ls /etc/tms").split() == ["host.conf", "service-ca.pem", "token"]
    left = [line for line in machine.ours() if not line.startswith(("/etc/tms", "/var/lib/tms-host", "/run/tms-host"))]
    assert left == []


def test_the_archive_installs_by_its_script(packages, machine):
    archive = machine.put(packages / f"tms-host-{VERSION}.tar.gz")
    machine.run(
        f"mkdir /usr/local/tms-host-install; cd /usr/local/tms-host-install; tar xzf {archive}; cd tms-host-{VERSION}; ./install.sh"
    )
    assert machine.run(OWNERS + HELPER) == f"root:root 755 {HELPER}\n"
    assert machine.run(ASK + "alice ssh-ed25519-cert-v01@openssh.com AAAA", status=1) == ""
    assert machine.run("ls /etc/tms").split() == ["host.conf.example"]
