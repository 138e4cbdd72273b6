"""Where the answers to one request's timeslot queries come from.

Each query is answered in ranges: stretches of its window that a snapshot of a moment ago holds, that a call in call
will bring, or that a new call has to be made for. Only the last are planned, so what is known is not asked again. A
request's own calls count as known to its end: the wide call that was started for `resources { timeslots }` also
answers each resource, whether or not anything is from_cache.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError, OperationTooLarge
from gateway.domain.models import CareUnitKey
from gateway.domain.partition import partition, unconfirmed_ids
from gateway.domain.planner import needed_lists, overlaps, plan, serves, spread
from gateway.domain.queries import ListedIds, Plan, Step, TimeslotQuery, UnitLists
from gateway.domain.timeslots import TimeslotList, joined
from gateway.domain.window import Window, common, to_end_of_day, without
from gateway.fetch.backend import UnitListLoader, load_listed_ids
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.request_answers import RequestAnswers, Source
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import TimeslotCalls


@dataclass(slots=True, eq=False)
class MissingRange:
    """A stretch to ask for: of a query, or of what the EHR takes in its stead.

    `awaited` is False where it is known, but stale.
    """

    query: TimeslotQuery
    part: TimeslotQuery
    window: Window
    awaited: bool = True


def calls_for_missing(
    missing_ranges: Sequence[MissingRange],
    everything: Sequence[TimeslotQuery],
    planned: Callable[[Sequence[TimeslotQuery]], Plan],
    widened: Callable[[MissingRange], Window],
) -> Mapping[MissingRange, Sequence[Step]]:
    """The fewest steps whose answers hold the missing_ranges.

    `everything` is all that the request asks for in parts that the EHR takes, known or not; `widened` gives the
    window that had better be asked for in place of a missing_range's.
    """
    found = _serving(
        missing_ranges, [missing_range.part.within(widened(missing_range)) for missing_range in missing_ranges], planned
    )
    if _calls(found) > 1:
        # What is left around what is known, and what lies open between midnights, can take more calls than the whole.
        whole = [missing_range.part for missing_range in missing_ranges]
        found = min(
            found,
            _serving(missing_ranges, whole, planned),
            _serving(missing_ranges, whole, planned, everything),
            key=_calls,
        )
    return found


def _serving(
    missing_ranges: Sequence[MissingRange],
    wanted: Sequence[TimeslotQuery],
    planned: Callable[[Sequence[TimeslotQuery]], Plan],
    beside: Iterable[TimeslotQuery] = (),
) -> Mapping[MissingRange, Sequence[Step]]:
    serving = planned([*wanted, *beside]).serving
    return {
        missing_range: [step for step in serving[query] if overlaps(step.window, missing_range.window)]
        for missing_range, query in zip(missing_ranges, wanted, strict=True)
    }


def _calls(found: Mapping[MissingRange, Sequence[Step]]) -> int:
    return len({step for steps in found.values() for step in steps})


class Part(NamedTuple):
    """A stretch of a query's window, and the step in whose answer it is."""

    query: TimeslotQuery
    step: Step
    source: Source


class QueryCoverage:
    """The parts of what one request asks of one care unit; queries that cannot be planned are `unplanned`."""

    def __init__(
        self, care_unit: CareUnitKey, source: TimeslotCalls, unit_lists: UnitListLoader, scope: FetchScope
    ) -> None:
        self._care_unit = care_unit
        self._source = source
        self._unit_lists = unit_lists
        self._scope = scope
        self._own = RequestAnswers(care_unit, source, scope)
        self._remembered: list[TimeslotQuery] = []
        self._parts: dict[TimeslotQuery, list[Part]] = {}
        self._planned: list[TimeslotQuery] = []
        self.unplanned: dict[TimeslotQuery, GatewayError] = {}

    def of(self, query: TimeslotQuery) -> Sequence[Part]:
        """The parts of a query that was planned."""
        return self._parts.get(query, ())

    def is_rounded(self, query: TimeslotQuery, step: Step) -> bool:
        """Whether a step asks for more than a query, to the end of its last day."""
        return query.window.end != step.window.end == self._end_of_day(query.window, self._profile).end

    def from_cache(self, query: TimeslotQuery) -> TimeslotList | None:
        """The slots of a query, where fresh snapshots settle it."""
        if self._own or not self._scope.may_use_cache:
            return None
        profile = self._profile
        if not query.allowed_by(profile.filter_policy):
            return None
        used = self._fresh_cover(query, profile)
        if used is None:
            return None
        shares = [partition(part, {snapshot.step: snapshot.answer}) for snapshot, part in used]
        if None in shares:
            return None
        found = joined(share for share in shares if share is not None)
        if not found.slots and unconfirmed_ids(query, {each.step: each.answer for each, _ in used}) != UnitLists():
            return None
        for snapshot, _ in used:
            self._own.note(snapshot)
        self._remembered.append(query)
        return found

    def _fresh_cover(
        self, query: TimeslotQuery, profile: EhrProfile
    ) -> Sequence[tuple[Snapshot, TimeslotQuery]] | None:
        """Fresh snapshots that hold the whole of a query, each with the part that is taken from it."""
        missing = [query.window]
        used: list[tuple[Snapshot, TimeslotQuery]] = []
        for snapshot in self._source.snapshots.known(query, profile):
            if not self._source.is_fresh(snapshot):
                return None
            window = snapshot.step.window
            if window.contains(query.window) and not used:
                return [(snapshot, query)]
            used += ((snapshot, query.within(shared)) for stretch in missing if (shared := common(stretch, window)))
            missing = [left for stretch in missing for left in without(stretch, window)]
            if not missing:
                return used
        return None

    async def plan(self, queries: Sequence[TimeslotQuery]) -> None:
        """Find what is known of each query that is new, and start the calls for the rest."""
        queries = [each for each in queries if each not in self._parts and each not in self.unplanned]
        profile = self._profile
        policy = profile.filter_policy
        listed_ids: ListedIds | GatewayError = ListedIds()
        if needed_lists(queries, policy, UnitLists()) != UnitLists():
            listed_ids = await load_listed_ids(queries, policy, self._care_unit, self._unit_lists)
        if isinstance(listed_ids, GatewayError):
            # What needs no list must not suffer from a list that cannot be had.
            self.unplanned.update((query, listed_ids) for query in queries if not query.allowed_by(policy))
            queries = [query for query in queries if query.allowed_by(policy)]
            listed_ids = ListedIds()
        missing_ranges: list[MissingRange] = []
        parts: list[TimeslotQuery] = []
        contained: dict[TimeslotQuery, TimeslotQuery] = {}
        before = len(self._planned)
        for query in sorted(queries, key=_looseness):
            # What is asked together is planned together, but for what is spread over filters that it does not name.
            earlier = (each for at, each in enumerate(self._planned) if at < before or not each.allowed_by(policy))
            container = next((each for each in earlier if each.settles(query, profile)), None)
            if container is not None:
                contained[query] = container
                continue
            self._planned.append(query)
            self._parts[query] = []
            for each in spread(query, policy, listed_ids):
                parts.append(each)
                missing_ranges += self._cover(query, each, profile)
        if missing_ranges:
            try:
                self._fetch(missing_ranges, parts, profile, listed_ids)
            except OperationTooLarge as error:
                self._give_up(queries, before, error)
                return
        self._parts.update((query, list(self._within(container, query))) for query, container in contained.items())

    def _give_up(self, queries: Sequence[TimeslotQuery], before: int, error: OperationTooLarge) -> None:
        """Leave queries that were to be planned together unplanned: what is known of them is not their answer."""
        del self._planned[before:]
        for query in queries:
            self._parts.pop(query, None)
            self.unplanned[query] = error

    def _within(self, earlier: TimeslotQuery, query: TimeslotQuery) -> Iterator[Part]:
        """The parts of a query from those of an earlier one that contains it: what each of many resources gets.

        The earlier one may have been spread over filters of its own, so its parts together hold the query's answer.
        """
        for part in self._parts[earlier]:
            if serves(part.step, query) and (shared := common(part.query.window, query.window)) is not None:
                yield Part(query.within(shared), part.step, part.source)

    def _cover(self, query: TimeslotQuery, part: TimeslotQuery, profile: EhrProfile) -> Iterator[MissingRange]:
        """Add what is known of a part to the query's parts; gives what is missing, and what is known but stale."""
        missing = [part.window]
        stale: list[Window] = []
        for step, source in self._candidates(part, profile):
            left: list[Window] = []
            for stretch in missing:
                found = _found(part, stretch, step, source)
                if found is None:
                    left.append(stretch)
                    continue
                self._parts[query].append(found)
                self._own.use(step, source)
                if isinstance(source, Snapshot) and not self._source.is_fresh(source):
                    stale.append(found.query.window)
                left += without(stretch, step.window)
            missing = left
            if not missing:
                break
        if stale:
            running = self._source.in_flight(self._care_unit, self._scope)
            for step in (step for step in running if step.settles(part.within(step.window), profile)):
                stale = [left for stretch in stale for left in without(stretch, step.window)]
        yield from (MissingRange(query, part, each) for each in missing)
        yield from (MissingRange(query, part, each, awaited=False) for each in stale)

    def _candidates(self, part: TimeslotQuery, profile: EhrProfile) -> Iterator[tuple[Step, Source]]:
        """Answers in which some of a part may be found: the request's own first, then fresh, stale, awaited ones."""

        def tells(step: Step) -> bool:
            return step.allowed_by(profile.filter_policy) and step.settles(part.within(step.window), profile)

        yield from [(step, source) for step, source in self._own.items() if tells(step)]
        if self._scope.may_use_cache:
            for snapshot in self._source.snapshots.known(part, profile):
                yield snapshot.step, snapshot
        running = self._source.in_flight(self._care_unit, self._scope)
        yield from [(step, call) for step, call in running.items() if step not in self._own and tells(step)]

    def _fetch(
        self,
        missing_ranges: Sequence[MissingRange],
        parts: Sequence[TimeslotQuery],
        profile: EhrProfile,
        listed_ids: ListedIds,
    ) -> None:
        """Start the fewest calls that fill the missing_ranges; `parts` is what was asked together with them.

        Raises OperationTooLarge before the first of them.
        """
        at_hand = self._unit_lists.asked_for(self._care_unit)
        known = self._unit_lists.known(self._care_unit)
        # Whatever was spread is spread already: the lists only tell what a call is worth.
        listed_ids = ListedIds(listed_ids.resources or known.resources, listed_ids.services or known.services)
        found = calls_for_missing(
            missing_ranges,
            [*self._remembered, *parts],
            lambda wanted: plan(wanted, profile, listed_ids, at_hand),
            lambda missing_range: self._worth_asking(missing_range, profile),
        )
        self._own.take(step for missing_range, steps in found.items() if missing_range.awaited for step in steps)
        for missing_range, steps in found.items():
            for step in steps:
                shared = common(missing_range.window, step.window)
                if not missing_range.awaited:
                    self._own.refresh(step)
                elif shared is not None:
                    self._parts[missing_range.query].append(
                        Part(missing_range.part.within(shared), step, self._own.call(step))
                    )

    def _worth_asking(self, missing_range: MissingRange, profile: EhrProfile) -> Window:
        """The window of a missing_range, to the end of the last day where the query ends there."""
        if missing_range.window.end != missing_range.query.window.end or not self._source.rounds(self._care_unit.emr):
            return missing_range.window
        return self._end_of_day(missing_range.window, profile)

    def _end_of_day(self, window: Window, profile: EhrProfile) -> Window:
        return to_end_of_day(window, profile.time_zone, profile.longest_window)

    async def alone(self, query: TimeslotQuery, profile: EhrProfile) -> Sequence[Part] | GatewayError:
        """The parts of a query from calls that are made for it, whatever wider answers are known.

        Raises OperationTooLarge.
        """
        listed_ids = await load_listed_ids([query], profile.filter_policy, self._care_unit, self._unit_lists)
        if isinstance(listed_ids, GatewayError):
            return listed_ids
        steps = plan([query], profile, listed_ids).serving[query]
        self._own.take(step for step in steps if self._own.landed(step) is None)
        parts = []
        for step in steps:
            window = common(query.window, step.window)
            if window is not None:
                asked, source = self._own.landed(step) or (step, self._own.call(step))
                part = replace(query, window=window, resource=step.resource, service=step.service)
                parts.append(Part(part, asked, source))
        return parts

    @property
    def _profile(self) -> EhrProfile:
        return self._source.profile(self._care_unit)


def _found(query: TimeslotQuery, stretch: Window, step: Step, source: Source) -> Part | None:
    """What an answer holds of a stretch of a query; None where the slots of one that has come do not tell."""
    window, answer = common(stretch, step.window), source.answer
    if window is None:
        return None
    part = Part(query.within(window), step, source)
    if answer is None:
        return part
    # Slots that name everybody are the rule, and then there is nothing to look for.
    may_hide = (query.resource != step.resource and len(answer.of_resource(None)) > 0) or (
        query.service != step.service and len(answer.of_service(None)) > 0
    )
    return None if may_hide and partition(part.query, {step: answer}) is None else part


def _looseness(query: TimeslotQuery) -> tuple[int, timedelta]:
    """Sorts what may contain others before what it may contain."""
    return (query.resource is not None) + (query.service is not None), -query.window.length
