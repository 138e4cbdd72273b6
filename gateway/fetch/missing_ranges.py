"""The ranges of windows that nothing known holds, and the fewest calls for them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from gateway.domain.pieces import Pieces
from gateway.domain.queries import Plan, Step, TimeslotQuery, TooManyCallsError
from gateway.domain.window import Window


@dataclass(slots=True, eq=False)
class MissingRange:
    """A range of a part's window to call for, on behalf of a query; nothing waits for it where a stale one is known."""

    query: TimeslotQuery
    part: TimeslotQuery
    window: Window
    awaited: bool = True


def calls_for_missing(
    missing: Mapping[MissingRange, TimeslotQuery],
    asked: Iterable[TimeslotQuery],
    planned: Callable[[Sequence[TimeslotQuery]], Pieces[Plan]],
) -> Pieces[Mapping[MissingRange, Sequence[Step]]]:
    """The fewest steps whose answers hold the missing ranges.

    `missing` has a query for each range, which may be for more than the range; `asked` are the parts of all that the
    request asks for, known or not. Raises TooManyCallsError.
    """
    found = _serving(missing, (yield from planned(list(missing.values()))))
    yield
    fewest = _number_of_calls(found)
    if fewest > 1:
        # The ranges left beside known ones, and beyond midnights, can take more calls than whole parts.
        uncut = {each: each.part for each in missing}
        parts = list(uncut.values())
        for wanted in (parts, [*parts, *asked]):
            yield
            with suppress(TooManyCallsError):  # then it is not the one with the fewest calls
                other = _serving(uncut, (yield from planned(wanted)))
                yield
                calls = _number_of_calls(other)
                if calls < fewest:
                    found, fewest = other, calls
    return found


def _serving(missing: Mapping[MissingRange, TimeslotQuery], made: Plan) -> Mapping[MissingRange, Sequence[Step]]:
    return {
        each: [step for step in made.serving[query] if step.window.overlaps(each.window)]
        for each, query in missing.items()
    }


def _number_of_calls(found: Mapping[MissingRange, Sequence[Step]]) -> int:
    return len({step for steps in found.values() for step in steps})
