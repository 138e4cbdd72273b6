"""What a request knows of timeslots at a moment: its own answers and pending calls, and the ranges that they cover."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.queries import Filters, Step, TimeslotQuery, containing, partition, serves
from gateway.domain.window import Window
from gateway.fetch.request_answers import RequestAnswers
from gateway.fetch.timeslot_calls import Source


class CoveredRange(NamedTuple):
    """A query for a range of a window, and the step whose answer holds the slots."""

    query: TimeslotQuery
    step: Step
    source: Source


class KnownSources:
    """The sources that a request may use at a moment, by the filters of their steps."""

    def __init__(self, answers: RequestAnswers, profile: EhrProfile) -> None:
        self.profile = profile
        self._own = self._by_filters(answers.items())
        self._pending = self._by_filters(answers.pending().items())

    def own(self, part: TimeslotQuery) -> Iterator[tuple[Step, Source]]:
        """The request's own steps that may hold a range of a part."""
        return self._settling(self._own, part)

    def pending(self, part: TimeslotQuery) -> Iterator[tuple[Step, Source]]:
        """The steps of pending calls that may."""
        return self._settling(self._pending, part)

    def _by_filters(self, sources: Iterable[tuple[Step, Source]]) -> Mapping[Filters, Sequence[tuple[Step, Source]]]:
        found: defaultdict[Filters, list[tuple[Step, Source]]] = defaultdict(list)
        for step, source in sources:
            if step.allowed_by(self.profile.filter_policy):
                found[step.filters].append((step, source))
        return found

    def _settling(
        self, sources: Mapping[Filters, Sequence[tuple[Step, Source]]], part: TimeslotQuery
    ) -> Iterator[tuple[Step, Source]]:
        if sources:
            for filters in containing(part.filters, self.profile):
                for step, source in sources.get(filters, ()):
                    if step.window.overlaps(part.window):
                        yield step, source


class ByResource:
    """The ranges of a query by the resource that their steps ask for."""

    def __init__(self, ranges: Sequence[CoveredRange]) -> None:
        self._ranges = ranges
        self._by_resource: defaultdict[str | None, list[CoveredRange]] = defaultdict(list)
        for each in ranges:
            self._by_resource[each.step.resource].append(each)

    def of(self, resource: str | None) -> Iterable[CoveredRange]:
        """The ranges that may hold slots of a resource."""
        return self._ranges if resource is None else chain(*map(self._by_resource.__getitem__, (None, resource)))


def contained(ranges: Iterable[CoveredRange], query: TimeslotQuery) -> Iterator[CoveredRange]:
    """The ranges of a query from those of an earlier one that contains it: what each of many resources gets.

    The earlier one may have been spread over filters of its own, so its ranges together hold the query's answer.
    """
    for each in ranges:
        if serves(each.step, query) and (held := each.query.window.intersection(query.window)) is not None:
            yield CoveredRange(query.within(held), each.step, each.source)


def held_range(part: TimeslotQuery, window: Window, step: Step, source: Source) -> CoveredRange | None:
    """The range of a part that an answer holds in a window; None where it holds none, or its slots do not tell."""
    held, answer = window.intersection(step.window), source.answer
    if held is None:
        return None
    found = CoveredRange(part.within(held), step, source)
    if answer is None:
        return found
    # As a rule slots name their owners, and then there is nothing to check.
    may_lack_owner = (part.resource != step.resource and len(answer.of_resource(None)) > 0) or (
        part.service != step.service and len(answer.of_service(None)) > 0
    )
    return None if may_lack_owner and partition(found.query, step, answer) is None else found
