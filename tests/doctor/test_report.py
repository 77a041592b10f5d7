"""The report itself: what is read at night, its order, its end; that nothing hangs and nothing is changed."""

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from keycmd.doctor import running
from keycmd.doctor.catalogue import CATALOGUE
from keycmd.doctor.findings import Finding, merged
from keycmd.doctor.running import in_parallel
from keycmd.doctor.show import WIDTH, as_text, exit_status
from tests.doctor.host import INSIDE, RUN, STATE, Host
from tests.doctor.test_well import NOTES

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "doctor.md"


def test_the_page_has_every_code_with_its_severity_and_no_other():
    told = re.findall(r"^### `(\w+)` \((\w+)\)$", PAGE.read_text(), re.MULTILINE)
    assert len(told) == len(dict(told))
    assert dict(told) == {code: severity for code, (severity, _) in CATALOGUE.items()}


def test_every_code_of_the_catalogue_is_used_and_is_tested():
    sources = "".join(path.read_text() for path in (ROOT / "keycmd/doctor").glob("*.py") if path.name != "catalogue.py")
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for code in CATALOGUE:
        assert f'"{code}"' in sources, f"no check reports {code}"
        assert f'"{code}"' in tests, f"no test shows {code}"


def test_the_worst_comes_first_and_the_verdict_last(host: Host):
    seen = host.doctor("first AuthorizedPrincipalsFile /x; first MaxStartups 10; without MaxStartups", text=True)
    lines = seen.out.rstrip("\n").split("\n")
    places = [seen.out.index(f"\n  {code}\n") for code in ("principals_file", "max_startups", "helper_time")]
    assert places == sorted(places)
    assert lines[0].startswith("tms-host doctor on login1 at 2")
    assert lines[-1].startswith("Verdict: NOT WELL. Begin with principals_file;")
    assert "(1 error, 1 warning, 2 notes; " in lines[-1]
    assert f"found: {INSIDE}/first.conf:1: AuthorizedPrincipalsFile /x" in seen.out
    assert "mend:  AuthorizedPrincipalsFile none" in seen.out
    assert "sshd -t && systemctl reload ssh" in lines[-3]
    assert seen.status == 2


def test_the_installed_command_runs_it(host: Host):
    words = f"--json --config {INSIDE}/host.conf --sshd-config {INSIDE}/sshd_config --account alice"
    change = f"set -- {INSIDE}/usr/sbin/tms-host doctor {words}"
    seen = host.doctor(change)
    assert seen.status == 0
    assert seen.codes <= NOTES
    assert host.doctor(f"first AuthorizedPrincipalsFile /x; {change}").status == 2


def test_a_well_host_is_told_so_in_one_line(host: Host):
    seen = host.doctor(text=True)
    assert "reload" not in seen.out
    assert seen.out.rstrip("\n").split("\n")[-1].startswith("Verdict: well (0 errors, 0 warnings, 2 notes; ")


def test_what_holds_for_some_accounts_says_for_whom(host: Host):
    change = "last Match User alice; last LogLevel QUIET"
    assert host.doctor(change).one("log_level")["accounts"] == ["alice"]
    assert "  log_level      (for alice)" in host.doctor(change, text=True).out


def test_an_account_that_is_not_there(host: Host):
    seen = host.doctor(account="bob")
    assert seen.codes - NOTES == {"account_unknown"}
    assert seen.status == 2


@pytest.mark.parametrize("name", ["a,addr=10.0.0.1", "", "a b", "a=b"])
def test_a_name_cannot_become_another_word_of_sshd(host: Host, name):
    done = subprocess.run(
        [sys.executable, "-m", "keycmd.doctor.main", "--account", name], cwd=ROOT, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "without blanks and commas" in done.stderr


def test_nobody_but_root_is_told_anything(tmp_path):
    if os.geteuid() != 0:
        command = [sys.executable]
    else:
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "/usr/bin/python3"]
    done = subprocess.run(
        [*command, "-B", "-m", "keycmd.doctor.main"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "run it as root" in done.stderr


def test_no_control_character_reaches_the_terminal(host: Host):
    seen = host.doctor(r"""printf 'json\n{"service_error":"\\u001b[2J\\u0007down"}\n' >daemon.txt""")
    assert seen.one("daemon_unwell")["found"] == "service_error: ?[2J?down"
    text = host.doctor(r"""printf 'failed \033[2J\n' >daemon.txt""", text=True).out
    assert "daemon_silent" in text
    assert not [c for c in text if c < " " and c != "\n"]


def test_nothing_is_changed(host: Host):
    (host.directory / "look").write_text(
        f"find {INSIDE} /etc/ssh /etc/pam.d -exec stat -c '%n %s %y %z %a %u' {{}} + | sort"
    )
    (host.directory / "twice").write_text(
        'sh look >/run/before; (cd "$1"; shift; "$@"); s=$?; sh look >/run/after; cmp /run/before /run/after >&2 || s=9; exit $s'
    )
    seen = host.doctor(f'set -- sh -c "cd {INSIDE}; exec sh twice \\"\\$@\\"" sh {ROOT} "$@"')
    assert seen.status == 0


def test_a_check_that_hangs_is_killed_and_what_it_had_found_counts(tmp_path, monkeypatch):
    begun = iter([0.0])

    def passes():
        """The time is over once it has found something, however late that is."""
        first = next(begun, None)
        return first if first is not None else 60.1 if (tmp_path / "found").exists() else 59.9

    def hangs(report):
        report.add("log_level", "found before", "LogLevel VERBOSE")
        (tmp_path / "found").touch()
        time.sleep(600)

    def dies(report):
        report.add("max_startups", "found before", "MaxStartups 100:30:300")
        raise OSError("no such thing")

    with monkeypatch.context() as patched:
        patched.setattr(running, "time", SimpleNamespace(monotonic=passes))
        found = in_parallel([("one", hangs)], seconds=60.0)
    found += in_parallel([("two", dies), ("three", lambda _report: None)], seconds=60.0)
    assert [one.code for one in found] == ["log_level", "check_hung", "max_startups", "check_failed"]
    assert "`one`" in found[1].found
    assert "OSError: no such thing" in found[3].found


def test_a_daemon_that_never_answers_holds_nothing_up(host: Host):
    mute = f"rm {RUN}/ask.sock; python3 -c \"import os, socket as s, time; x = s.socket(s.AF_UNIX); x.bind('{RUN}/ask.sock'); x.listen(1); os.fork() and os._exit(0); os.close(1); os.close(2); time.sleep(600)\"; chown tms-host {RUN}/ask.sock; chmod 600 {RUN}/ask.sock"
    seen = host.doctor(f"{mute}; conf timeout_seconds = 1", times={("daemon", "SECONDS"): 1.0})
    assert "daemon_silent" in seen.codes


def test_equal_findings_are_one_with_all_their_accounts():
    found = merged(
        [Finding("log_level", "x", "y", ["root"]), Finding("krl_none", "x", "y", ["root"]), Finding("log_level", "x", "y", ["a"])]
    )  # fmt: skip
    assert [(one.code, one.accounts) for one in found] == [("krl_none", ["root"]), ("log_level", ["root", "a"])]
    assert exit_status(found) == 1
    assert exit_status([]) == 0


def test_text_is_as_wide_as_a_terminal_but_for_what_is_copied():
    found = [Finding("user_ca_none", "word " * 60, "TrustedUserCAKeys " + "x" * 120)]
    lines = as_text("head", ["root"], found, 1.0).split("\n")
    assert all(len(line) <= WIDTH for line in lines if not line.startswith(("    mend:", "After", "Verdict")))
    assert any(line.endswith("x" * 120) for line in lines)


def test_json_and_text_say_the_same(host: Host):
    change = f"first AuthorizedPrincipalsFile /x; rm {STATE}/krl"
    seen = host.doctor(change)
    text = host.doctor(change, text=True).out
    assert [code for code in re.findall(r"^  (\w+)", text, re.MULTILINE) if code in CATALOGUE] == [
        one["code"] for one in seen.json["findings"]
    ]
    assert json.dumps(seen.json)
    assert (seen.json["errors"], seen.json["warnings"]) == (2, 1)
