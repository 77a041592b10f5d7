"""Several servers asked in turn: each round asks every one of them, so that a drift of the machine meets all."""

import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.load import Load, Measured, Variant, measure
from tests.bench.processes import Server, started
from tests.bench.report import Figure, figure, spread, table
from tests.bench.service import JSON

SERVER_CPU, LOAD_CPU, BOTH_CPUS = "0", "1", "0,1"
MOST_REPEATS = 2


@dataclass(frozen=True)
class Plan:
    """How long everything takes."""

    seconds: int = 6  # of a round
    rounds: int = 5
    warm: int = 2  # seconds before the first round
    connections: tuple[int, ...] = (1, 32, 100)
    steady_seconds: float = 6
    keys: int = 20_000
    scale: float = 1.0  # of the filled database: 1.0 is a million certificates
    memory: tuple[int, int] = (60, 600)  # seconds of full load before each look at the resident memory


QUICK = Plan(seconds=2, rounds=3, warm=1, connections=(32,), steady_seconds=3, memory=(10, 60))


@dataclass
class Bench:
    """What the parts of a run share."""

    plan: Plan
    directory: Path  # on the disk under test
    say: Callable[[str], None] = field(default=lambda text: print(text, file=sys.stderr, flush=True))


@contextmanager
def echo(bodies: Path) -> Iterator[tuple[Server, Load]]:
    """Run the probe; yield it and what to ask it: the same bodies as the service."""
    with started([sys.executable, "-m", "tests.bench.echo"], cpu=SERVER_CPU) as server:
        yield server, Load(f"{server.address}/", JSON, bodies)


@dataclass
class Comparison:
    """What came out, by variant and number of connections; rounds of the same number belong together."""

    variants: list[Variant]
    found: dict[tuple[str, int], list[Measured]] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)  # rounds in which something was refused

    def values(self, name: str, connections: int, field_: str) -> list[float]:
        return [getattr(one, field_) for one in self.found[name, connections]]

    def ratio(self, name: str, over: str, connections: int, *, called: str = "") -> Figure:
        """Return how many times as many requests a second as `over` it did: the median of each round's ratio."""
        ours, theirs = (self.values(one, connections, "per_second") for one in (name, over))
        ratios = [one / other for one, other in zip(ours, theirs, strict=True)]
        return figure(called or f"{name}_{connections}_vs_{over}", ratios, "ratio", ratio_to=f"{over}_{connections}")

    def target(self, called: str, name: str, over: str, connections: int) -> list[Figure]:
        """Return a target's ratio, and the same out of processor times, which other work on the machine hardly moves."""
        ours, theirs = (self.values(one, connections, "cpu_us") for one in (name, over))
        ratios = [other / one for one, other in zip(ours, theirs, strict=True)]
        by_cpu = figure(f"{called}_by_cpu", ratios, "ratio", ratio_to=f"{over}_{connections}_cpu_us")
        return [self.ratio(name, over, connections, called=called), by_cpu]

    def figures(self) -> list[Figure]:
        """Return the raw figures."""
        made = []
        for name, connections in self.found:
            label = f"{name}_{connections}"
            made.append(figure(label, self.values(name, connections, "per_second"), "1/s", digits=1))
            made.append(figure(f"{label}_p50_ms", self.values(name, connections, "p50_ms"), "ms"))
            made.append(figure(f"{label}_p99_ms", self.values(name, connections, "p99_ms"), "ms"))
            made.append(figure(f"{label}_cpu_us", self.values(name, connections, "cpu_us"), "us", digits=1))
        return made

    def lines(self, over: str, over_what: str) -> list[str]:
        """Return the table, with the ratio to the variant `over`, and what else there is to say."""
        ratio_to = f"ratio to {over_what}"
        head = ["what", "connections", "a second, median (min-max)", "p50 ms", "p99 ms", "CPU us each", ratio_to]
        rows = []
        for variant in self.variants:
            for connections in sorted({number for name, number in self.found if name == variant.name}):
                rate = figure("", self.values(variant.name, connections, "per_second"), "1/s")
                cells = [
                    statistics.median(self.values(variant.name, connections, one))
                    for one in ("p50_ms", "p99_ms", "cpu_us")
                ]
                ratio = self.ratio(variant.name, over, connections)
                times = [f"{cells[0]:.1f}", f"{cells[1]:.1f}", f"{cells[2]:.0f}"]
                rows.append([variant.what, str(connections), spread(rate, ",.0f"), *times, spread(ratio, ".2f")])
        return [*table(head, rows), *([""] if self.refusals else []), *(f"- {text}" for text in self.refusals)]


def compare(
    bench: Bench, variants: Sequence[Variant], connections: Sequence[int], *, load_cpu: str = LOAD_CPU
) -> Comparison:
    """Ask all variants in turn, round after round, for each number of connections.

    Raises:
        RuntimeError: as measure()

    """
    comparison = Comparison(list(variants))
    for variant in variants:
        variant.server.settle()
    for number in connections:
        for round_ in range(bench.plan.rounds + 1):
            # Every other round goes backwards: nobody always follows the same neighbour.
            for variant in variants if round_ % 2 else reversed(variants):
                if not round_:
                    measure(variant, connections=number, seconds=bench.plan.warm, cpu=load_cpu)
                    continue
                one = _measured(bench, comparison, variant, number, load_cpu)
                comparison.found.setdefault((variant.name, number), []).append(one)
                bench.say(
                    f"  {variant.what:44} {number:4} connections  round {round_}: {one.per_second:8,.0f}/s"
                    f"  p99 {one.p99_ms:6.1f} ms  {one.cpu_us:5.0f} us CPU each"
                )
    return comparison


def _measured(bench: Bench, comparison: Comparison, variant: Variant, connections: int, load_cpu: str) -> Measured:
    """Measure one round; repeat it when it had refusals, and tell what stays of them beside the table."""
    for again in range(MOST_REPEATS + 1):
        one = measure(variant, connections=connections, seconds=bench.plan.seconds, cpu=load_cpu)
        if not one.refused:
            break
        end = "kept" if again == MOST_REPEATS else "repeated"
        text = f"{variant.what} at {connections} connections: {one.refused} answers of a round were refusals; {end}."
        bench.say(f"  {text}")
        comparison.refusals.append(text)
    return one
