"""What the benchmark says about its figures."""

import json
import shutil
from pathlib import Path

import pytest

from tests.bench.compare import Comparison
from tests.bench.load import Load, Measured, Variant
from tests.bench.processes import Server
from tests.bench.report import (
    BEGIN,
    END,
    TARGETS,
    Figure,
    Outcome,
    document,
    figure,
    spread,
    write_document,
    write_json,
)

DOC = Path(__file__).parents[2] / "docs" / "performance.md"
BY_NAME = {target.name: target for target in TARGETS}


@pytest.mark.parametrize(
    ("name", "value", "verdict"),
    [
        ("issue_vs_openbao", 2.999, "**not met**"),
        ("issue_vs_openbao", 3.0, "met"),
        ("issue_vs_openbao", 4.499, "met"),
        ("issue_vs_openbao", 4.5, "met, aim too"),
        ("issue_p99_ms", 25.001, "**not met**"),
        ("issue_p99_ms", 25.0, "met"),
        ("issue_p99_ms", 15.001, "met"),
        ("issue_p99_ms", 15.0, "met, aim too"),
        ("rss_10min_vs_1min", 1.101, "**not met**"),
        ("rss_10min_vs_1min", 0.9, "met, aim too"),
    ],
)
def test_a_verdict_follows_its_target(name, value, verdict):
    assert BY_NAME[name].verdict(value) == verdict


def test_every_target_has_its_row_also_when_it_was_not_measured():
    outcome = Outcome("rates", "Rates", ["a table"], [Figure("check_vs_echo", 0.6, "ratio", "echo_32", 0.55, 0.65)])
    lines = document("stamp", [outcome], {"workers": "no second core"})
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert list(rows) == [target.name for target in TARGETS]
    assert "| 0.60 (0.55-0.65) | 0.55 | 0.75 | met |" in rows["check_vs_echo"]
    assert "| not measured |" in rows["issue_vs_openbao"]
    assert rows["issue_vs_openbao"].endswith("|  |")
    assert "Part `workers` was not measured: no second core" in lines
    assert lines[-3:] == ["### Rates", "", "a table"]


def test_the_tables_of_the_real_document_are_replaced_and_nothing_else(tmp_path):
    copy = Path(shutil.copy(DOC, tmp_path))
    before, after = copy.read_text().split(BEGIN)[0], copy.read_text().split(END)[1]
    write_document(copy, ["first"])
    write_document(copy, ["second", "", "| a |"])
    assert copy.read_text() == f"{before}{BEGIN}\nsecond\n\n| a |\n{END}{after}"


@pytest.mark.parametrize("text", ["no marks", f"{END}\n{BEGIN}", f"{BEGIN}\n{BEGIN}\n{END}"])
def test_a_document_without_its_marks_stays_as_it_is(tmp_path, text):
    path = tmp_path / "performance.md"
    path.write_text(text)
    with pytest.raises(ValueError, match="must have"):
        write_document(path, ["a table"])
    assert path.read_text() == text


def test_bench_json_is_a_list_of_entries_with_four_keys(tmp_path):
    one, two = Figure("a", 1.5, "ratio", "b", 1, 2), Figure("c", 3, "ms")
    write_json(tmp_path / "bench.json", [Outcome("p", "P", figures=[one]), Outcome("q", "Q", figures=[two])])
    assert json.loads((tmp_path / "bench.json").read_text()) == [
        {"name": "a", "value": 1.5, "unit": "ratio", "ratio_to": "b"},
        {"name": "c", "value": 3, "unit": "ms", "ratio_to": None},
    ]


def test_a_figure_is_the_median_with_its_spread():
    found = figure("a", [3000.0, 1000.0, 1100.0], "1/s")
    assert (found.value, found.low, found.high) == (1100, 1000, 3000)
    assert spread(found, ",.0f") == "1,100 (1,000-3,000)"
    assert spread(figure("a", [7.0], "ms"), ".1f") == "7.0"


def rounds(*rates):
    return [Measured(rate, 1, 2, 100) for rate in rates]


def test_a_ratio_is_taken_round_by_round_so_that_a_drift_of_the_machine_cancels():
    server = Server("http://127.0.0.1:1", 1)
    variants = [Variant(name, name, server, Load("http://127.0.0.1:1/", {}, DOC)) for name in ("ours", "echo")]
    comparison = Comparison(variants, {("ours", 32): rounds(50, 20, 10), ("echo", 32): rounds(100, 40, 20)})
    ratio = comparison.ratio("ours", "echo", 32, called="ours_vs_echo")
    assert ratio == Figure("ours_vs_echo", 0.5, "ratio", "echo_32", 0.5, 0.5)
    by_cpu = Figure("ours_vs_echo_by_cpu", 1.0, "ratio", "echo_32_cpu_us", 1.0, 1.0)
    assert comparison.target("ours_vs_echo", "ours", "echo", 32) == [ratio, by_cpu]
    assert comparison.lines("echo", "echo")[-2:] == [
        "| ours | 32 | 20 (10-50) | 1.0 | 2.0 | 100 | 0.50 |",
        "| echo | 32 | 40 (20-100) | 1.0 | 2.0 | 100 | 1.00 |",
    ]
