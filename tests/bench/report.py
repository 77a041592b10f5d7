"""Figures, the targets that they are held against, bench.json, and the tables of docs/performance.md."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"
HELPER_BEGIN, HELPER_END = "<!-- helper: begin -->", "<!-- helper: end -->"


@dataclass(frozen=True)
class Figure:
    """One line of bench.json."""

    name: str
    value: float
    unit: str
    ratio_to: str | None = None
    low: float | None = None  # the lowest and highest round; for the tables only
    high: float | None = None

    def entry(self) -> dict[str, object]:
        return {"name": self.name, "value": self.value, "unit": self.unit, "ratio_to": self.ratio_to}


@dataclass(frozen=True)
class Target:
    """What the service is meant to reach."""

    name: str
    what: str
    least: float
    aim: float
    part: str  # of the benchmark, that measures it
    lower_is_better: bool = False

    def verdict(self, value: float) -> str:
        """Say how a value stands, as it is and not as it is rounded."""
        sign = -1 if self.lower_is_better else 1
        if sign * value >= sign * self.aim:
            return "met, aim too"
        return "met" if sign * value >= sign * self.least else "**not met**"


TARGETS = (
    Target("issue_vs_openbao", "certificates a second, over OpenBao's", 3, 4.5, "rates"),
    Target("check_vs_echo", "login checks a second, over the bare echo's", 0.55, 0.75, "rates"),
    Target("issue_p99_ms", "p99 of certificates at 32 connections, ms", 25, 15, "rates", lower_is_better=True),
    Target("workers_2_vs_1", "certificates a second at 100 connections, two workers over one", 1.3, 1.6, "workers"),
    Target("postgres_vs_sqlite", "certificates a second, PostgreSQL over SQLite", 0.9, 1.3, "postgres"),
    Target("million_vs_empty", "certificates a second, 1,000,000 in the database over none", 0.9, 1.0, "million"),
    Target("rss_10min_vs_1min", "resident memory after 10 minutes over after 1", 1.1, 1.02, "memory", lower_is_better=True),
)  # fmt: skip


@dataclass
class Outcome:
    """What one part of the benchmark found."""

    part: str
    title: str
    lines: list[str] = field(default_factory=list)  # the table, and sentences about it
    figures: list[Figure] = field(default_factory=list)


def figure(name: str, values: Sequence[float], unit: str, *, ratio_to: str | None = None, digits: int = 3) -> Figure:
    """Return the median of the rounds with their spread."""
    numbers = [statistics.median(values), min(values), max(values)]
    value, low, high = (round(number, digits) for number in numbers)
    return Figure(name, value, unit, ratio_to, low, high)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(head)} |", "|" + "---|" * len(head), *(f"| {' | '.join(row)} |" for row in rows)]


def spread(found: Figure, form: str) -> str:
    """Return the median and, where there were several rounds, the lowest and the highest."""
    text = format(found.value, form)
    if found.low is None or found.high is None or found.low == found.high:
        return text
    return f"{text} ({found.low:{form}}-{found.high:{form}})"


def targets(figures: Sequence[Figure]) -> list[str]:
    """Return the table of the targets; one that was not measured says so."""
    by_name = {one.name: one for one in figures}
    rows = []
    for target in TARGETS:
        found = by_name.get(target.name)
        measured = "not measured" if found is None else spread(found, ".2f")
        verdict = "" if found is None else target.verdict(found.value)
        most = "at most " if target.lower_is_better else ""
        rows.append([f"`{target.name}`", target.what, measured, f"{most}{target.least:g}", f"{target.aim:g}", verdict])
    return table(["name", "what", "measured", "at least", "aim", "verdict"], rows)


def document(stamp: str, outcomes: Sequence[Outcome], failures: dict[str, str]) -> list[str]:
    """Return all that stands between the marks of docs/performance.md."""
    figures = [one for outcome in outcomes for one in outcome.figures]
    lines = [stamp, "", *targets(figures)]
    lines += [line for part, why in failures.items() for line in ("", f"Part `{part}` was not measured: {why}")]
    for outcome in outcomes:
        lines += ["", f"### {outcome.title}", "", *outcome.lines]
    return lines


def read_json(path: Path) -> list[dict[str, object]]:
    """Return the entries of a bench.json that is there; of one that is not, none."""
    return list(json.loads(path.read_text())) if path.exists() else []


def write_json(path: Path, outcomes: Sequence[Outcome], kept: Sequence[dict[str, object]] = ()) -> None:
    """Write bench.json: a list with one entry a line. `kept` are older entries; a new one of the same name counts."""
    new = [one.entry() for outcome in outcomes for one in outcome.figures]
    names = {entry["name"] for entry in new}
    entries = [json.dumps(entry) for entry in [*(one for one in kept if one["name"] not in names), *new]]
    path.write_text("[\n " + ",\n ".join(entries) + "\n]\n")


def write_document(path: Path, lines: Sequence[str], begin: str = BEGIN, end: str = END) -> None:
    """Replace what stands between the marks.

    Raises:
        ValueError: the file does not have each mark once, in this order; nothing was written

    """
    text = path.read_text()
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise ValueError(f"{path} must have {begin} and then {end}, each once")
    before, rest = text.split(begin)
    path.write_text("\n".join([before + begin, *lines, end]) + rest.split(end)[1])
