"""The parts of the benchmark; each starts what it needs and measures one thing."""

from contextlib import ExitStack

from tests.bench import openbao as peer
from tests.bench import postgresql as engine
from tests.bench import steady
from tests.bench.compare import BOTH_CPUS, LOAD_CPU, SERVER_CPU, Bench, Comparison, compare, echo
from tests.bench.crowd import filled, many_users
from tests.bench.load import Variant
from tests.bench.report import Outcome, figure, table
from tests.bench.service import service

ISSUE_A_SECOND, CHECKS_A_SECOND = 400, 1600  # well below what one core can do


def _ours_and_theirs(bench: Bench, name: str, stack: ExitStack, outcome: Outcome) -> list[Variant]:
    """Start echo, our service and OpenBao, each on the server's core."""
    keys, directory = bench.plan.keys, bench.directory / name
    ours = stack.enter_context(service(directory / "ours", cpu=SERVER_CPU))
    certificates, logins = ours.certificates(keys), ours.logins(keys)
    probe, questions = stack.enter_context(echo(certificates.bodies))
    variants = [
        Variant("echo", "echo", probe, questions),
        Variant("issue", "certificates", ours.server, certificates),
        Variant("check", "login checks", ours.server, logins),
    ]
    try:
        theirs, signing = stack.enter_context(peer.openbao(directory / "openbao", cpu=SERVER_CPU, keys=keys))
        variants.append(Variant("openbao", f"certificates of {peer.version()}", theirs, signing))
    except (RuntimeError, OSError) as error:
        outcome.lines += [f"OpenBao is left out: {error}", ""]
        bench.say(f"  OpenBao is left out: {error}")
    return variants


def rates(bench: Bench) -> Outcome:
    """Certificates and login checks a second, beside the echo and OpenBao."""
    outcome = Outcome("rates", "One process on one core")
    with ExitStack() as stack:
        variants = _ours_and_theirs(bench, "rates", stack, outcome)
        found = compare(bench, variants, bench.plan.connections)
    outcome.lines += found.lines("echo", "echo")
    outcome.figures = found.figures()
    for number in bench.plan.connections:
        outcome.figures += [found.ratio(one.name, "echo", number) for one in variants[1:]]
    outcome.figures += found.target("check_vs_echo", "check", "echo", 32)
    outcome.figures.append(figure("issue_p99_ms", found.values("issue", 32, "p99_ms"), "ms"))
    if len(variants) > 3:
        outcome.figures += found.target("issue_vs_openbao", "issue", "openbao", 32)
    return outcome


def latency(bench: Bench) -> Outcome:
    """Latencies at a constant rate far from saturation."""
    outcome = Outcome("latency", "At a constant rate")
    seconds = bench.plan.steady_seconds
    found: dict[str, list[steady.Latencies]] = {}
    with ExitStack() as stack:
        variants = _ours_and_theirs(bench, "latency", stack, outcome)
        paces = {"echo": CHECKS_A_SECOND, "issue": ISSUE_A_SECOND, "check": CHECKS_A_SECOND, "openbao": ISSUE_A_SECOND}
        for variant in variants:
            variant.server.settle()
        for round_ in range(bench.plan.rounds + 1):
            for variant in variants:
                rate = paces[variant.name]
                one = steady.measure(variant.load, rate=rate, seconds=seconds if round_ else 1, cpu=LOAD_CPU)
                if round_:
                    found.setdefault(variant.name, []).append(one)
                    bench.say(f"  {variant.what:44} {rate:5}/s  p50 {one.p50_ms:.2f}  p99 {one.p99_ms:.2f} ms")
    rows = []
    for variant in variants:
        rate, cells = paces[variant.name], []
        for part in ("p50_ms", "p99_ms", "p999_ms", "max_ms", "late_p99_ms"):
            made = figure(f"{variant.name}_at_{rate}_{part}", [getattr(one, part) for one in found[variant.name]], "ms")
            outcome.figures.append(made)
            cells.append(f"{made.value:.2f}")
        rows.append([variant.what, f"{rate:,}", *cells, str(sum(one.refused for one in found[variant.name]))])
    outcome.lines += table(
        ["what", "a second", "p50 ms", "p99 ms", "p99.9 ms", "longest ms", "driver late, p99 ms", "refused"], rows
    )
    return outcome


def workers(bench: Bench) -> Outcome:
    """Two workers over one, with both cores for everybody."""
    outcome = Outcome("workers", "Two workers on both cores, the load beside them")
    with ExitStack() as stack:
        variants = []
        for number, what in ((1, "one worker"), (2, "two workers")):
            ours = stack.enter_context(service(bench.directory / f"workers-{number}", cpu=BOTH_CPUS, workers=number))
            load = ours.certificates(bench.plan.keys)
            variants.append(Variant(f"issue_workers_{number}", f"certificates, {what}", ours.server, load))
        found = compare(bench, variants, [100], load_cpu=BOTH_CPUS)
    outcome.lines += found.lines("issue_workers_1", "one worker")
    outcome.figures = [*found.figures(), *found.target("workers_2_vs_1", "issue_workers_2", "issue_workers_1", 100)]
    return outcome


def postgres(bench: Bench) -> Outcome:
    """PostgreSQL, on the core beside, over SQLite."""
    outcome = Outcome("postgres", "PostgreSQL instead of SQLite")
    with ExitStack() as stack:
        url = stack.enter_context(engine.postgresql(cpu=LOAD_CPU))
        variants = []
        for name, database in (("sqlite", ""), ("postgres", url)):
            what = f"certificates, {engine.version() if database else 'SQLite'}"
            directory = bench.directory / f"engine-{name}"
            ours = stack.enter_context(service(directory, cpu=SERVER_CPU, database_url=database))
            variants.append(Variant(f"issue_{name}", what, ours.server, ours.certificates(bench.plan.keys)))
        found = _beside_echo(bench, stack, outcome, variants)
    outcome.figures = [*found.figures(), *found.target("postgres_vs_sqlite", "issue_postgres", "issue_sqlite", 32)]
    return outcome


def million(bench: Bench) -> Outcome:
    """A full database over an empty one."""
    plan = bench.plan
    size = f"{plan.scale * 1e6:,.0f}"
    outcome = Outcome("million", f"{size} certificates in the database")
    with ExitStack() as stack:
        empty = stack.enter_context(service(bench.directory / "empty", cpu=SERVER_CPU))
        fill = filled(plan.scale, bench.say)
        full = stack.enter_context(service(bench.directory / "full", cpu=SERVER_CPU, fill=fill))
        crowded = stack.enter_context(service(bench.directory / "crowded", cpu=SERVER_CPU, fill=fill))
        variants = [
            Variant("issue_empty", "certificates, empty", empty.server, empty.certificates(plan.keys)),
            Variant("issue_million", f"certificates, {size}", full.server, full.certificates(plan.keys)),
            Variant(
                "issue_many_users",
                f"certificates, {size}, many users",
                crowded.server,
                many_users(crowded, plan.keys, plan.scale),
            ),
            Variant("check_empty", "login checks, empty", empty.server, empty.logins(plan.keys)),
            Variant("check_million", f"login checks, {size}", full.server, full.logins(plan.keys)),
        ]
        found = _beside_echo(bench, stack, outcome, variants)
        resident = {
            one: server.resident_bytes() / 2**20 for one, server in (("empty", empty.server), ("full", full.server))
        }
    outcome.figures = found.figures()
    for name, over in (("issue_many_users", "issue_million"), ("check_million", "check_empty")):
        outcome.figures.append(found.ratio(name, over, 32))
    if plan.scale == 1:
        outcome.figures += found.target("million_vs_empty", "issue_million", "issue_empty", 32)
    sizes = ", ".join(f"{mib:.0f} MiB with the database {name}" for name, mib in resident.items())
    outcome.lines += ["", f"Resident memory of the service afterwards: {sizes}."]
    for name, mib in resident.items():
        outcome.figures.append(figure(f"rss_{name}_mib", [mib], "MiB", digits=1))
    return outcome


def _beside_echo(bench: Bench, stack: ExitStack, outcome: Outcome, variants: list[Variant]) -> Comparison:
    """Compare at 32 connections, with the echo as one of the variants, and write the table."""
    probe, questions = stack.enter_context(echo(variants[0].load.bodies))
    name = f"{outcome.part}_echo"  # figures have one name each in bench.json
    found = compare(bench, [Variant(name, "echo", probe, questions), *variants], [32])
    outcome.lines += found.lines(name, "echo")
    return found
