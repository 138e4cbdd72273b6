"""What was measured, as a Markdown table: medians over the rounds, and ratios within each round."""

import os
import platform
import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from statistics import median

from benchmarks.contenders import GATEWAY
from benchmarks.measurement import Measurement
from benchmarks.scenarios import Scenario
from benchmarks.truth import Unit

BEGIN, END = "<!-- benchmark:start -->", "<!-- benchmark:end -->"
_CPU_INFO = Path("/proc/cpuinfo")

_HEAD = (
    "| Scenario | Contender | CPU s per 1000 answers | CPU, times the gateway's | p50 ms | p99 ms | Peak RSS MB "
    "| Upstream calls an answer |\n| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |"
)
_CELLS: tuple[Callable[[Measurement], float], ...] = (
    lambda one: one.p50_seconds * 1000,
    lambda one: one.p99_seconds * 1000,
    lambda one: one.peak_bytes / 2**20,
    lambda one: one.upstream_calls,
)


@dataclass(slots=True)
class Results:
    """Measurements by scenario, contender and round, and what went wrong."""

    rounds: int
    sizes: dict[str, str] = field(default_factory=dict)
    """What a scenario's answer holds, in words."""
    measured: defaultdict[tuple[str, str], dict[int, Measurement]] = field(default_factory=lambda: defaultdict(dict))
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def describe(self, scenario: Scenario, truth: Sequence[Unit]) -> None:
        """Note how large a scenario's answer is."""
        resources = [resource for unit in truth for resource in unit["resources"]]
        owners = truth if scenario.view == "whole" else resources
        slots = sum(len(owner["timeslots"]) for owner in owners)
        self.sizes[scenario.name] = (
            f"`{scenario.name}`: {len(truth)} care units, {len(resources)} resources, {slots} slots"
            f"{' under their resources' if scenario.view == 'by_resource' else ''}, "
            f"{scenario.connections} connection{'s' if scenario.connections > 1 else ''}, "
            f"{'windows that move' if scenario.moving else 'identical requests'}"
        )

    def markdown(self, today: date) -> str:
        """The table with the date, the machine and what was asked."""
        rows = [
            self._row(scenario, contender)
            for scenario in self.sizes
            for of_scenario, contender in dict.fromkeys([*self.measured, *self.failures])
            if of_scenario == scenario
        ]
        return (
            f"Measured on {today.day} {today:%B %Y}: {_machine()}. {self._answers()} Medians of {self.rounds} "
            f"interleaved round{'s' if self.rounds > 1 else ''}.\n\n"
            + "\n".join([_HEAD, *rows, "", *(f"* {size}" for size in self.sizes.values())])
        )

    def _answers(self) -> str:
        if self.failures:
            return f"{len(self.failures)} of {len({*self.measured, *self.failures})} rows FAILED."
        count = sum(one.answers for rounds in self.measured.values() for one in rounds.values())
        return f"Each of the {count} answers was right."

    def _row(self, scenario: str, contender: str) -> str:
        if (scenario, contender) in self.failures:
            return f"| {scenario} | {contender} | FAILED | | | | | |"
        own, base = self.measured[scenario, contender], self.measured.get((scenario, GATEWAY), {})
        cells = [_figure(median(one.cpu_seconds for one in own.values()) * 1000), _ratio(own, base)]
        cells += [_figure(median(cell(one) for one in own.values())) for cell in _CELLS]
        return f"| {scenario} | {contender} | {' | '.join(cells)} |"


def written_into(text: str, table: str) -> str:
    """A page with the table between its markers. Raises ValueError where it has none."""
    new, count = re.subn(
        f"(?<={re.escape(BEGIN)}\n).*?(?={re.escape(END)})", lambda _: f"{table}\n", text, flags=re.DOTALL
    )
    if count != 1:
        raise ValueError(f"the page needs one pair of lines {BEGIN} and {END}")
    return new


def _ratio(own: Mapping[int, Measurement], base: Mapping[int, Measurement]) -> str:
    """By round, since the machine is quicker in one round than in another."""
    ratios = [own[each].cpu_seconds / base[each].cpu_seconds for each in own if each in base and base[each].cpu_seconds]
    return _figure(median(ratios)) if ratios else ""


def _figure(value: float) -> str:
    decimals = next((count for count, least in ((0, 100), (1, 10), (2, 0.1)) if value >= least), 3)
    return f"{value:.{decimals}f}"


def _machine() -> str:
    model = platform.processor() or platform.machine()
    if _CPU_INFO.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", _CPU_INFO.read_text(encoding="utf-8"), flags=re.MULTILINE)
        model = found[1].strip() if found else model
    return f"{model}, {os.cpu_count()} cores, Python {platform.python_version()}"
