"""The house rules, as tests: lint, types, the direction of dependency, sizes, and what the helpers may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
OURS = ["tms_ca", "schemas", "keycmd", "principals_cmd", "deploy"]


@pytest.mark.parametrize(
    "command",
    [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["lint-imports", "--no-cache"],
        ["vermin", "-q", "-t=3.6-", "--no-tips", "--violations", "keycmd", "principals_cmd"],
    ],
    ids=lambda command: " ".join(command[:2]),
)
def test_the_tools_find_nothing(command):
    run = subprocess.run([BIN / command[0], *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout[-4000:] + run.stderr[-2000:]


def test_a_file_says_one_thing():
    """Aim for 50-250 lines; what is over must be a table or a list of declarations, and named here with the reason."""
    known = {
        "tms_ca/store/tables.py": "every table, declared once",
        "tms_ca/store/facts.py": "two statements and their reading",
        "tms_ca/store/facts_sql.py": "the statements of the decisions share their columns",
        "tms_ca/core/model.py": "every record",
        "tms_ca/core/policy.py": "the two decisions share their rules",
        "tms_ca/http/endpoint.py": "the declaration and the one wrapper that runs it",
        "schemas/directory.py": "a list of shapes",
        "tms_ca/store/migrations/versions/0001_initial.py": "written by Alembic",
    }
    for folder in OURS:
        for path in (ROOT / folder).rglob("*.py"):
            name = str(path.relative_to(ROOT))
            lines = len(path.read_text().splitlines())
            assert lines <= 300 or name in known, f"{name} has {lines} lines: split it"


def test_time_and_randomness_come_in_as_arguments():
    """Only the clock asks for the time, and core asks for nothing."""
    # Besides the clock: the log line's own time, and "--days 30" on a command line.
    allowed = {
        "tms_ca/services/clock.py",
        "tms_ca/http/middleware.py",
        "tms_ca/http/refusals.py",
        "tms_ca/cli/inputs.py",
    }
    for path in (ROOT / "tms_ca").rglob("*.py"):
        name = str(path.relative_to(ROOT))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                called = ast.unparse(node.func)
                if called in {"time.time", "datetime.now", "datetime.datetime.now", "datetime.utcnow"}:
                    assert name in allowed or name.startswith("tms_ca/client/"), f"{name} asks the machine for the time"


def test_the_helpers_run_on_python_3_6():
    """The oldest Python in the fleet; where this machine has one, the helper really runs on it."""
    oldest = sorted(Path.home().glob(".pyenv/versions/3.6*/bin/python"))
    if not oldest:
        pytest.skip("no Python 3.6 on this machine; vermin has checked the syntax and the modules")
    code = "import sys; sys.path.insert(0, sys.argv[1]); import principals_cmd.main, keycmd.config, keycmd.service"
    subprocess.run([oldest[0], "-I", "-c", code, ROOT], check=True)


def test_importing_tms_ca_costs_nothing():
    """The client's commands start with it."""
    code = "import sys; before = set(sys.modules); import tms_ca; print(sorted(set(sys.modules) - before))"
    found = subprocess.run([sys.executable, "-I", "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "['tms_ca']"
