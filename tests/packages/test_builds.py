"""What is in the packages: the same list in each, the same bytes each time, nothing compiled, nothing of others."""

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from deploy.build_host import ROOT, host_files, stage
from tests.packages.conftest import VERSION, build_packages

NAMES = {f"tms-host_{VERSION}_all.deb", f"tms-host-{VERSION}-1.noarch.rpm", f"tms-host-{VERSION}.tar.gz"}
SOURCES = ("deploy", "keycmd", "principals_cmd", "docs", "tms_ca/__init__.py", "LICENSE")


def sums(directory: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir() if path.is_file()}


def copy_of_the_sources(target: Path) -> Path:
    for name in SOURCES:
        source = ROOT / name
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target / name, copy_function=shutil.copyfile)
        else:
            shutil.copyfile(source, target / name)
    return target


def test_the_same_sources_give_the_same_bytes(packages, tmp_path):
    """Elsewhere, later, under another umask, by another user's settings; and another source gives other bytes."""
    source = copy_of_the_sources(tmp_path / "elsewhere")
    begun = int(time.time())
    while int(time.time()) == begun:  # the packages that are compared were made in an earlier second
        time.sleep(0.05)
    again = build_packages(tmp_path / "b", source, umask=0o077, TZ="Asia/Tokyo", LC_ALL="C", USER="somebody")
    assert set(sums(packages)) == NAMES
    assert sums(again) == sums(packages)
    changed = source / "keycmd/config.py"
    changed.write_text(changed.read_text() + "# one more line\n")
    other = build_packages(tmp_path / "c", source)
    for name, value in sums(other).items():
        assert value != sums(packages)[name], name


def test_a_build_says_the_time_that_it_is_told(tmp_path):
    (deb,) = build_packages(tmp_path / "a", kinds="deb", SOURCE_DATE_EPOCH="1000000000").iterdir()
    listing = subprocess.run(
        ["dpkg-deb", "-c", deb], capture_output=True, text=True, check=True, env={**os.environ, "TZ": "UTC"}
    )
    assert all("2001-09-09 01:46" in line for line in listing.stdout.splitlines())


def of_deb(packages) -> dict[str, str]:
    out = subprocess.run(
        ["dpkg-deb", "-c", packages / f"tms-host_{VERSION}_all.deb"], capture_output=True, text=True, check=True
    )
    found = {}
    for line in out.stdout.splitlines():
        mode, owner, *_, name = line.split()
        assert owner == "root/root", line
        found[name[1:].rstrip("/")] = mode
    return found


def of_rpm(packages) -> dict[str, str]:
    out = subprocess.run(
        ["rpm", "-qplv", packages / f"tms-host-{VERSION}-1.noarch.rpm"], capture_output=True, text=True, check=True
    )
    found = {}
    for line in out.stdout.splitlines():
        mode, _, user, group, *_, name = line.split()
        assert (user, group) == ("root", "root"), line
        found[name] = mode
    return found


def test_the_packages_hold_the_one_list(packages):
    expected = {file.target: oct(file.mode) for file in host_files()}
    deb, rpm = of_deb(packages), of_rpm(packages)
    assert {name for name, mode in deb.items() if mode[0] == "-"} == set(expected)
    assert {name: mode for name, mode in deb.items() if mode[0] == "-"} == {n: m for n, m in rpm.items() if m[0] == "-"}
    # The directories of the system are in the .deb, which shares them, and not in the .rpm, which would own them.
    assert {name for name, mode in rpm.items() if mode[0] == "d"} <= set(deb)
    assert all(mode == "drwxr-xr-x" for mode in [*deb.values(), *rpm.values()] if mode[0] == "d")
    with tarfile.open(packages / f"tms-host-{VERSION}.tar.gz") as archive:
        inside = {member.name.partition("/")[2]: member for member in archive if member.isfile()}
    assert set(inside) == {name[1:] for name in expected} | {"install.sh"}
    assert {f"/{name}": oct(member.mode) for name, member in inside.items() if name != "install.sh"} == expected


def test_nothing_compiled_and_nothing_of_the_service(packages):
    names = list(of_deb(packages))
    assert any(name.endswith("keycmd/config.py") for name in names)
    assert not [
        name for name in names if name.endswith(".pyc") or "__pycache__" in name or "tms_ca" in name or "test" in name
    ]


def test_every_source_of_the_hosts_code_is_in_the_list():
    """A module that is forgotten is a login that is refused."""
    targets = {file.target for file in host_files()}
    for package in ("keycmd", "principals_cmd"):
        for path in (ROOT / package).rglob("*.py"):
            assert f"/usr/lib/tms-host/{path.relative_to(ROOT)}" in targets


def test_scripts_are_shell(packages, tmp_path):
    subprocess.run(["dpkg-deb", "-e", packages / f"tms-host_{VERSION}_all.deb", tmp_path], check=True)
    for name in ("postinst", "prerm", "postrm"):
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o755
        subprocess.run(["sh", "-n", tmp_path / name], check=True)
    scripts = subprocess.run(
        ["rpm", "-qp", "--scripts", packages / f"tms-host-{VERSION}-1.noarch.rpm"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for words in (
        "preinstall scriptlet (using /bin/sh)",
        "postinstall scriptlet",
        "preuninstall scriptlet",
        "useradd --system",
    ):
        assert words in scripts
    plain = "\n".join(line for line in scripts.splitlines() if "scriptlet (" not in line)
    subprocess.run(["sh", "-n"], input=plain, text=True, check=True)


def test_packages_ask_for_what_they_need(packages):
    deb = subprocess.run(
        ["dpkg-deb", "-f", packages / f"tms-host_{VERSION}_all.deb", "Depends"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "python3 (>= 3.6)" in deb.stdout
    assert "openssh-server" in deb.stdout
    rpm = subprocess.run(
        ["rpm", "-qpR", packages / f"tms-host-{VERSION}-1.noarch.rpm"], capture_output=True, text=True, check=True
    )
    assert "python3 >= 3.6" in rpm.stdout.splitlines()
    assert "openssh-server" in rpm.stdout.splitlines()


def test_a_tree_with_another_prefix_names_itself_only(tmp_path):
    prefix = str(tmp_path / "usr")
    tree = stage(Path("/"), prefix)
    assert tree == Path(prefix)
    for path in tree.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            text = path.read_text().replace(prefix, "")
            assert "/usr/lib/tms-host" not in text, path
            assert "/usr/libexec/tms" not in text, path
            assert "/usr/sbin/tms-host" not in text, path


def test_modes_do_not_come_from_the_umask(tmp_path):
    code = "import sys; from pathlib import Path; from deploy.build_host import stage; stage(Path(sys.argv[1]))"
    for umask in (0o000, 0o077):
        root = tmp_path / oct(umask)
        root.mkdir(0o755)
        subprocess.run([sys.executable, "-c", code, root], cwd=ROOT, check=True, umask=umask)
        for file in host_files():
            path = root / file.target[1:]
            assert path.stat().st_mode & 0o7777 == file.mode
            assert path.parent.stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize("prefix", ["usr", "/usr/", ""])
def test_a_prefix_that_is_none_is_refused(prefix):
    with pytest.raises(ValueError, match="expected an absolute path"):
        host_files(prefix)
