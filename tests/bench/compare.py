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

    def values(self, name: str, connections: int, field_: str) -> list[float]:
        return [getattr(one, field_) for one in self.found[name, connections]]

    def ratio(self, name: str, over: str, connections: int, *, called: str = "") -> Figure:
        """Return how many times as many requests a second as `over`: the median of each round's ratio."""
        pairs = zip(
            self.values(name, connections, "per_second"), self.values(over, connections, "per_second"), strict=True
        )
        ratios = [one / other for one, other in pairs]
        return figure(called or f"{name}_{connections}_vs_{over}", ratios, "ratio", ratio_to=f"{over}_{connections}")

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

    def table(self, over: str) -> list[str]:
        """Return the table, with the ratio to the variant `over`."""
        head = [
            "what",
            "connections",
            "a second, median (min-max)",
            "p50 ms",
            "p99 ms",
            "CPU us each",
            f"ratio to {over}",
        ]
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
        return table(head, rows)


def compare(
    bench: Bench, variants: Sequence[Variant], connections: Sequence[int], *, load_cpu: str = LOAD_CPU
) -> Comparison:
    """Ask all variants in turn, round after round, for each number of connections.

    Raises:
        RuntimeError: a request failed

    """
    comparison = Comparison(list(variants))
    for variant in variants:
        variant.server.settle()
    for number in connections:
        for round_ in range(bench.plan.rounds + 1):
            # Every other round goes backwards: nobody always follows the same neighbour.
            for variant in variants if round_ % 2 else reversed(variants):
                seconds = bench.plan.seconds if round_ else bench.plan.warm
                one = measure(variant, connections=number, seconds=seconds, cpu=load_cpu)
                if round_:
                    comparison.found.setdefault((variant.name, number), []).append(one)
                    bench.say(
                        f"  {variant.what:44} {number:4} connections  round {round_}: {one.per_second:8,.0f}/s"
                        f"  p99 {one.p99_ms:6.1f} ms  {one.cpu_us:5.0f} us CPU each"
                    )
    return comparison
