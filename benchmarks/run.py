"""Run everything: `python -m benchmarks.run`, or `make bench`."""

import argparse
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from itertools import count
from pathlib import Path

import httpx

from benchmarks.contenders import CREDENTIALS, NAMES, ROOT, Contender, clean_environment, contenders
from benchmarks.load import Bounds
from benchmarks.measurement import Measurement, Upstream, measure
from benchmarks.processes import PROC, Server, StartError, pinned, processors, running
from benchmarks.results import Results, written_into
from benchmarks.scenarios import SCENARIOS, Calendar, Scenario, first_day
from benchmarks.truth import Judge, WrongAnswerError, fetch_truth

_MOST_ANSWERS = 100_000
README = ROOT / "benchmarks" / "README.md"


@dataclass(frozen=True, slots=True)
class Stage:
    """A simulator of one scale, and the contenders in front of it."""

    upstream: Upstream
    servers: dict[str, Server]
    calendar: Calendar


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print; 0 where every answer was right."""
    options = _parser().parse_args(arguments)
    if not (PROC / "self" / "stat").is_file():
        print("bench: processor time is read from /proc, which only Linux has", file=sys.stderr)
        return 2
    today = datetime.now().astimezone().date()
    try:
        results = _measured(options, first_day(today))
    except StartError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    table = results.markdown(today)
    print(table)
    if options.write and not results.failures:
        README.write_text(written_into(README.read_text(encoding="utf-8"), table), encoding="utf-8")
    return 1 if results.failures else 0


def _measured(options: argparse.Namespace, today: date) -> Results:
    wanted, names = options.scenario, options.contender
    taking_part = [each for each in contenders(options.beside) if names is None or each.name in names]
    chosen = [each for each in SCENARIOS if wanted is None or each.name in wanted]
    results = Results(options.rounds)
    for scale in sorted({scenario.scale for scenario in chosen}):
        of_scale = [scenario for scenario in chosen if scenario.scale == scale]
        with _stage(scale, today, taking_part) as stage:
            _play(stage, of_scale, taking_part, results, options.seconds)
    return results


@contextmanager
def _stage(scale: int, today: date, taking_part: Sequence[Contender]) -> Iterator[Stage]:
    """The servers; the contenders have one processor, which only one of them uses at a time, the rest has another."""
    contender_cpu, other_cpu = processors() or (None, None)
    command = [sys.executable, "-m", "benchmarks.upstream", "--scale", str(scale), "--today", today.isoformat()]
    credentials = dict(zip(("x-leyr-client-id", "x-leyr-client-secret"), CREDENTIALS, strict=True))
    with ExitStack() as stack:
        stack.enter_context(pinned(other_cpu))
        simulator = stack.enter_context(running(command, clean_environment(ROOT), ROOT, other_cpu))
        servers = {
            each.name: stack.enter_context(
                running(each.command(simulator.url), each.environment(simulator.url), each.folder, contender_cpu)
            )
            for each in taking_part
        }
        admin = stack.enter_context(httpx.Client(base_url=simulator.url, headers=credentials, timeout=60))
        yield Stage(Upstream(simulator, admin), servers, Calendar(today))


def _play(
    stage: Stage, scenarios: Sequence[Scenario], taking_part: Sequence[Contender], results: Results, seconds: float
) -> None:
    """Round by round, so that a slow minute of the machine meets everybody."""
    judges = {}
    for scenario in scenarios:
        truth = fetch_truth(stage.upstream.admin, scenario.view, stage.calendar.window(scenario, 0))
        results.describe(scenario, truth)
        judges[scenario.name] = Judge(truth).judge
    numbers = count()
    for number in range(results.rounds):
        for scenario in scenarios:
            invited = [each for each in taking_part if scenario.cached or not each.has_caches]
            for contender in _rotated(invited, number):
                key = scenario.name, contender.name
                if key in results.failures:
                    continue
                request = _requests(stage, contender, scenario, numbers)
                bounds = Bounds(scenario.connections, seconds, _MOST_ANSWERS)
                server = stage.servers[contender.name]
                try:
                    measured = measure(server, stage.upstream, request, judges[scenario.name], bounds)
                except (WrongAnswerError, OSError) as error:
                    results.failures[key] = str(error)
                    _say(f"{scenario.name} {contender.name}: FAILED: {type(error).__name__}: {error}")
                else:
                    results.measured[key][number] = measured
                    _say(_progress(number, scenario, contender, measured))


def _requests(stage: Stage, contender: Contender, scenario: Scenario, numbers: Iterator[int]) -> Callable[[], bytes]:
    """Makes a scenario's next request to a contender; a fixed one is made once."""
    url = stage.servers[contender.name].url
    if not scenario.moving:
        fixed = contender.request(url, scenario.view, stage.calendar.window(scenario, 0))
        return lambda: fixed
    return lambda: contender.request(url, scenario.view, stage.calendar.window(scenario, next(numbers)))


def _rotated(items: Sequence[Contender], places: int) -> list[Contender]:
    first = places % len(items) if items else 0
    return [*items[first:], *items[:first]]


def _progress(number: int, scenario: Scenario, contender: Contender, measured: Measurement) -> str:
    return (
        f"round {number + 1} {scenario.name:10} {contender.name:20} {measured.answers:6} answers, "
        f"{measured.cpu_seconds * 1000:8.2f} CPU ms each, processor {measured.busy:4.0%} busy, "
        f"upstream {measured.upstream_calls:6.2f} calls and {measured.upstream_cpu_seconds * 1000:6.2f} CPU ms each"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.run", description="What answers cost, side by side.")
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--rounds", type=int, default=3, help="how often to measure each (%(default)s)")
    parser.add_argument("--seconds", type=float, default=3, help="how long a measurement takes (%(default)s)")
    parser.add_argument("--scenario", action="append", choices=names, help="only this one; repeatable")
    parser.add_argument("--contender", action="append", choices=NAMES, help="only this one; repeatable")
    parser.add_argument("--beside", type=Path, help="another checkout, whose gateway takes part too")
    parser.add_argument("--write", action="store_true", help="put the table into benchmarks/README.md if all is right")
    return parser


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main())
