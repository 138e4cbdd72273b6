"""Which calls fill the gaps that what is known leaves in a request's queries."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from gateway.domain.planning import Plan, Step, TimeslotQuery, overlaps
from gateway.domain.window import Window


@dataclass(slots=True, eq=False)
class Gap:
    """A stretch to ask for: of a query, or of what the EHR takes in its stead.

    `awaited` is False where it is known, but stale.
    """

    query: TimeslotQuery
    part: TimeslotQuery
    window: Window
    awaited: bool = True


def filling(
    gaps: Sequence[Gap],
    everything: Sequence[TimeslotQuery],
    planned: Callable[[Sequence[TimeslotQuery]], Plan],
    widened: Callable[[Gap], Window],
) -> Mapping[Gap, Sequence[Step]]:
    """The fewest steps whose answers hold the gaps.

    `everything` is all that the request asks for in parts that the EHR takes, known or not; `widened` gives the
    window that had better be asked for in place of a gap's.
    """
    found = _serving(gaps, [gap.part.within(widened(gap)) for gap in gaps], planned)
    if _calls(found) > 1:
        # What is left around what is known, and what lies open between midnights, can take more calls than the whole.
        whole = [gap.part for gap in gaps]
        found = min(found, _serving(gaps, whole, planned), _serving(gaps, whole, planned, everything), key=_calls)
    return found


def _serving(
    gaps: Sequence[Gap],
    wanted: Sequence[TimeslotQuery],
    planned: Callable[[Sequence[TimeslotQuery]], Plan],
    beside: Iterable[TimeslotQuery] = (),
) -> Mapping[Gap, Sequence[Step]]:
    serving = planned([*wanted, *beside]).serving
    return {
        gap: [step for step in serving[query] if overlaps(step.window, gap.window)]
        for gap, query in zip(gaps, wanted, strict=True)
    }


def _calls(found: Mapping[Gap, Sequence[Step]]) -> int:
    return len({step for steps in found.values() for step in steps})
