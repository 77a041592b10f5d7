"""What the helper's benchmark makes of its samples, and that what it times really asks and is answered."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.bench.helper import NAMES, TARGETS, Timed, _commands, _figures, _lines, timed
from tests.bench.report import HELPER_BEGIN, HELPER_END, Figure, Outcome, read_json, write_document, write_json

DOC = Path(__file__).parents[2] / "docs" / "performance.md"
ENVIRONMENT = {"PATH": "/usr/bin:/bin"}


def test_ratios_are_taken_round_by_round():
    found = {name: Timed([10.0, 20.0, 40.0], [10.0, 10.0, 10.0]) for name in NAMES}
    found["socket"] = Timed([12.0, 24.0, 48.0], [5.0, 6.0, 7.0])
    figures = {one.name: one for one in _figures(found, 1.5)}
    assert figures["helper_socket_vs_python"] == Figure(
        "helper_socket_vs_python", 1.2, "ratio", "helper_python_cpu_ms", 1.2, 1.2
    )
    assert figures["helper_socket_vs_curl_by_wall"].value == 0.6
    assert figures["helper_daemon_cpu_ms"].value == 1.5
    lines = _lines(list(figures.values()), 120)
    assert [line.split("`")[1] for line in lines if line.startswith("| `helper")] == [target.name for target in TARGETS]
    assert "| 1.20 | 0.60 (0.50-0.70) | at most 1.5 | 1.2 | met, aim too |" in lines[2]
    assert "| **not met** |" in lines[3]


def test_a_part_alone_keeps_the_figures_of_the_others(tmp_path):
    path = tmp_path / "bench.json"
    write_json(path, [Outcome("p", "P", figures=[Figure("a", 1, "ms"), Figure("b", 2, "ms")])])
    write_json(path, [Outcome("q", "Q", figures=[Figure("b", 3, "ms"), Figure("c", 4, "ms")])], read_json(path))
    assert [(one["name"], one["value"]) for one in json.loads(path.read_text())] == [("a", 1), ("b", 3), ("c", 4)]
    assert read_json(tmp_path / "none.json") == []


def test_the_helper_s_tables_are_replaced_and_nothing_else(tmp_path):
    copy = Path(shutil.copy(DOC, tmp_path))
    before, after = copy.read_text().split(HELPER_BEGIN)[0], copy.read_text().split(HELPER_END)[1]
    write_document(copy, ["new"], HELPER_BEGIN, HELPER_END)
    assert copy.read_text() == f"{before}{HELPER_BEGIN}\nnew\n{HELPER_END}{after}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_what_is_timed_asks_and_is_answered():
    # Not in tmp_path: the daemon takes no path of more than 80 characters, and nobody knows how long that one is.
    with (
        tempfile.TemporaryDirectory(prefix="tms-helper-") as directory,
        _commands(Path(directory) / "h") as (commands, _),
    ):
        Path(directory).chmod(0o755)
        for name in ("socket", "https", "curl"):
            done = subprocess.run(commands[name], capture_output=True, check=False, env=ENVIRONMENT, timeout=60)
            assert (done.returncode, done.stdout) == (0, b"alice@h1\n"), (name, done.stderr)
            cpu, wall = timed(commands[name], ENVIRONMENT)
            assert cpu > 0
            assert wall > 0
        # The twin: one that is refused is not a time.
        with pytest.raises(RuntimeError, match="ended with 1"):
            timed([*commands["socket"][:-1], "AAA"], ENVIRONMENT)
