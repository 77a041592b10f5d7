"""The parts that other programs read: units for systemd, a policy for SELinux, lines for sshd, programs for Python 3.6."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy.build_host import ROOT, stage
from deploy.host_packages import version_of_ours

UNIT = ROOT / "deploy/host/tms-hostd.service"
PROGRAMS = (
    "libexec/tms/tms-principals",
    "libexec/tms/tms-keycmd",
    "libexec/tms/tms-session",
    "sbin/tms-host",
    "sbin/tms-hostd",
)
MAKEFILE = Path("/usr/share/selinux/devel/Makefile")


def need(*programs: str) -> None:
    for program in programs:
        if shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin") is None:
            pytest.skip(f"{program} is missing: deploy/debian-packages.sh hosts sshd")


@pytest.fixture(scope="module")
def oldest() -> Path:
    """The oldest Python of this machine."""
    found = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
    return found[0] if found else Path("/usr/bin/python3")


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    return stage(Path("/"), str(tmp_path_factory.mktemp("tree") / "usr"))


def verify(unit: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False, timeout=60)


def test_systemd_takes_the_unit(tree, tmp_path):
    need("systemd-analyze")
    done = verify(tree / "lib/systemd/system/tms-hostd.service")
    assert (done.returncode, [line for line in done.stderr.splitlines() if "tms-hostd" in line]) == (0, [])
    wrong = tmp_path / "tms-hostd.service"
    wrong.write_text(
        UNIT.read_text().replace("/usr/sbin/tms-hostd", "/nonexistent/tms-hostd").replace("WatchdogSec=", "WatchDog=")
    )
    assert "tms-hostd" in verify(wrong).stderr


def test_the_daemon_may_do_little():
    """systemd's own count, 0 (nothing allowed) to 10; what is left over is the network, the terminals and CAP_KILL."""
    need("systemd-analyze")
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", "--threshold=25"]
    done = subprocess.run([*command, UNIT], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr
    lines = UNIT.read_text().splitlines()
    assert "User=tms-host" in lines
    assert "CapabilityBoundingSet=CAP_KILL" in lines
    assert "NoNewPrivileges=yes" in lines


def test_sysusers_makes_one_locked_user(tmp_path):
    need("systemd-sysusers")
    (tmp_path / "etc").mkdir()
    subprocess.run(
        ["systemd-sysusers", f"--root={tmp_path}", ROOT / "deploy/host/sysusers.conf"], check=True, capture_output=True
    )
    user = (tmp_path / "etc/passwd").read_text().split(":")
    assert (user[0], user[5], user[6]) == ("tms-host", "/var/lib/tms-host", "/usr/sbin/nologin\n")
    assert (tmp_path / "etc/shadow").read_text().startswith("tms-host:!")


def make_policy(directory: Path) -> subprocess.CompletedProcess[str]:
    command = ["make", "-f", MAKEFILE, "NAME=default", "TYPE=mcs", "tms_host.pp"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False, timeout=60)


def test_the_selinux_policy_compiles(tmp_path):
    need("checkmodule", "semodule_package", "make", "m4")
    if not MAKEFILE.exists():
        pytest.skip("selinux-policy-dev is missing: deploy/debian-packages.sh hosts")
    shutil.copytree(ROOT / "deploy/host/selinux", tmp_path / "good")
    done = make_policy(tmp_path / "good")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "good/tms_host.pp").stat().st_size > 1000
    assert "WARNING" not in (done.stdout + done.stderr).upper()
    shutil.copytree(ROOT / "deploy/host/selinux", tmp_path / "bad")
    policy = tmp_path / "bad/tms_host.te"
    policy.write_text(policy.read_text() + "allow tms_helper_t nowhere_t:file read;\n")
    assert make_policy(tmp_path / "bad").returncode != 0


def test_selinux_labels_what_is_installed(tree):
    """A path in the file contexts that is not there any more would leave a program without its domain."""
    contexts = (ROOT / "deploy/host/selinux/tms_host.fc").read_text()
    for line in contexts.splitlines():
        path = line.split()[0]
        if path.startswith("/usr/"):
            assert (tree / path.removeprefix("/usr/")).is_file(), path
    for program in PROGRAMS[:2]:
        assert f"/usr/{program}" in contexts


def test_G_11_sshd_takes_the_lines(tmp_path):
    need("sshd")
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    config = tmp_path / "sshd_config"
    text = f"HostKey {key}\n" + (ROOT / "deploy/sshd_config.d/tms.conf").read_text()
    command = [shutil.which("sshd", path="/usr/sbin:/usr/bin"), "-T", "-f", config]
    config.write_text(
        text.replace("AuthorizedPrincipalsCommandUser tms-host\n", "AuthorizedPrincipalsCommandUser root\n")
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    shown = done.stdout.splitlines()
    if done.returncode != 0 and "privilege separation" in done.stderr.lower():
        pytest.skip(done.stderr)
    assert "authorizedprincipalscommand /usr/libexec/tms/tms-principals %u %t %k" in shown, done.stderr
    assert "revokedkeys /var/lib/tms-host/krl" in shown
    assert "trustedusercakeys /var/lib/tms-host/user_ca.pub" in shown
    assert "authorizedprincipalsfile none" in shown
    config.write_text(text.replace("AuthorizedPrincipalsCommandUser", "AuthorizedPrincipalsCommandUsers"))
    assert subprocess.run(command, capture_output=True, check=False).returncode != 0


def test_G_04_the_staged_code_is_python_3_6(tree):
    vermin = [
        Path(sys.executable).parent / "vermin",
        "-q",
        "-t=3.6-",
        "--no-tips",
        "--violations",
        "--no-parse-comments",
    ]
    programs = [tree / name for name in PROGRAMS]
    # vermin reads *.py by itself; what is named is read whatever its name.
    for what in ([tree / "lib/tms-host"], programs):
        done = subprocess.run([*vermin[:-1], *what], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


CALLED_BY_SSHD = ["alice", "ssh-ed25519-cert-v01@openssh.com", "AAAA"]


@pytest.mark.parametrize(
    ("name", "arguments", "status", "says"),
    [
        ("libexec/tms/tms-principals", CALLED_BY_SSHD, 1, ""),
        ("libexec/tms/tms-keycmd", ["alice", "1000", "SHA256:" + "A" * 43, "ssh-ed25519"], 1, ""),
        ("libexec/tms/tms-session", [], 1, ""),
        ("sbin/tms-host", ["--help"], 0, "usage: tms-host"),
        ("sbin/tms-hostd", ["--config", "/nonexistent/host.conf"], 1, "/nonexistent/host.conf"),
    ],
)
def test_G_04_each_program_starts_on_the_oldest_python(tree, oldest, name, arguments, status, says):
    """Its imports are all there; what sshd calls refuses without a configuration, and prints nothing to sshd."""
    assert (tree / name).read_text().splitlines()[0] == "#!/usr/bin/python3 -ISE"
    done = subprocess.run(
        [oldest, "-ISE", tree / name, *arguments], capture_output=True, text=True, check=False, timeout=30, cwd="/",
        stdin=subprocess.DEVNULL, env={"PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    assert says in done.stdout + done.stderr
    if not says:
        assert done.stdout == ""


def test_the_programs_and_the_packages_have_one_version(tree):
    done = subprocess.run([tree / "sbin/tms-host", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"tms-host {version_of_ours()}\n"


def test_G_04_no_module_needs_more_than_the_standard_library_of_3_6(tree, oldest):
    """Each module is imported on its own."""
    library = tree / "lib/tms-host"
    names = [".".join(path.relative_to(library).with_suffix("").parts) for path in sorted(library.rglob("*.py"))]
    names = [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")]
    assert "keycmd.config" in names
    code = "import importlib, sys\nsys.path.insert(0, sys.argv[1])\nfor name in sys.argv[2:]: importlib.import_module(name)"
    done = subprocess.run(
        [oldest, "-ISE", "-B", "-c", code, library, *names], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_example_is_a_configuration_and_names_every_key(tmp_path):
    """Each key once, with the value that is meant without the line, but for what each host has its own."""
    from keycmd import config

    text = (ROOT / "deploy/host/host.conf.example").read_text()
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("tms_h_0123456789abcdefghijklmnopqrstuvwxyzABCDEF0\n")
    path = tmp_path / "host.conf"
    path.write_text(text.replace("/etc/tms/token", str(token)))
    loaded = config.load(str(path))
    assert (loaded.tenant, loaded.host) == ("default", "stampede3")
    lines = dict(line.split(" = ", 1) for line in text.splitlines() if line and not line.startswith("#"))
    assert set(config.KEYS) == set(lines)
    own = {"url", "tenant", "host", "token_file", "ca_file", "node"}
    assert {key: value for key, value in lines.items() if key not in own} == {
        key: value for key, value in config.DEFAULTS.items() if key in lines and key not in own
    }


def test_the_page_about_hosts_describes_every_key():
    from keycmd import config

    page = (ROOT / "docs/hosts.md").read_text()
    table = page[page.index("| key | meaning |") : page.index("## What happens at a login")]
    assert {key for key in config.KEYS if f"`{key}`" not in table} == set()


def test_the_lines_to_copy_are_those_that_a_join_writes():
    from keycmd.admin import sshd_lines
    from keycmd.admin.places import Places

    places = Places("/nonexistent")
    places.user_ca, places.krl = "/var/lib/tms-host/user_ca.pub", "/var/lib/tms-host/krl"
    written = sshd_lines.lines(places, ["ssh-ed25519 AAAA"], [])
    copied = (ROOT / "deploy/sshd_config.d/tms.conf").read_text()
    assert {line for line in copied.splitlines() if line and line[0] != "#"} == set(written.splitlines()[1:])
    # By this the purge of a package knows the file.
    assert "TMS-CA" in written.splitlines()[0]
