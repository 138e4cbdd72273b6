"""Where the answers to one request's timeslot queries come from.

Each query is answered in ranges of its window: a recent snapshot holds one, a pending call will bring another, and a
new call has to be made for the rest. Only missing ranges are planned, so nothing that is known is fetched again. A
request's own calls count as known until its end, with or without a cache: the wide call that was started for
`resources { timeslots }` also answers each resource.
"""

from asyncio import Lock, Semaphore
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import NamedTuple, TypeAlias

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError, OperationTooLarge, RateLimited
from gateway.domain.models import CareUnitKey
from gateway.domain.planner import plan, serves, spread
from gateway.domain.queries import ListedIds, Plan, Step, TimeslotQuery, partition, unconfirmed_ids
from gateway.domain.timeslots import TimeslotList, joined
from gateway.domain.window import Window, subtract, to_end_of_day
from gateway.fetch.backend import UnitListLoader, load_listed_ids
from gateway.fetch.fetch_scope import CacheStatus, FetchRecord, FetchScope
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import TimeslotCalls

# Where an EHR wants a filter, one query may become a call for each resource; a clinic gets them a few at a time.
_CALLS_AT_ONCE = 8

Source: TypeAlias = Snapshot | SharedCall[TimeslotList]


class CoveredRange(NamedTuple):
    """A query for a range of a window, and the step whose answer holds the slots."""

    query: TimeslotQuery
    step: Step
    source: Source


@dataclass(slots=True, eq=False)
class MissingRange:
    """A range of a part's window that a call has to be made for, on behalf of a query.

    `awaited` is False where a stale answer is known, so that nothing waits for the call.
    """

    query: TimeslotQuery
    part: TimeslotQuery
    window: Window
    awaited: bool = True


def calls_for_missing(
    missing: Mapping[MissingRange, TimeslotQuery],
    asked: Iterable[TimeslotQuery],
    planned: Callable[[Sequence[TimeslotQuery]], Plan],
) -> Mapping[MissingRange, Sequence[Step]]:
    """The fewest steps whose answers hold the missing ranges.

    `missing` has a query for each range, which may be for more than the range; `asked` are the parts of all that the
    request asks for, known or not.
    """
    found = _serving(missing, planned(list(missing.values())))
    if _number_of_calls(found) > 1:
        # The ranges left beside known ones, and beyond midnights, can take more calls than whole parts.
        whole = {each: each.part for each in missing}
        found = min(
            found,
            _serving(whole, planned(list(whole.values()))),
            _serving(whole, planned([*whole.values(), *asked])),
            key=_number_of_calls,
        )
    return found


def _serving(missing: Mapping[MissingRange, TimeslotQuery], made: Plan) -> Mapping[MissingRange, Sequence[Step]]:
    return {
        each: [step for step in made.serving[query] if step.window.overlaps(each.window)]
        for each, query in missing.items()
    }


def _number_of_calls(found: Mapping[MissingRange, Sequence[Step]]) -> int:
    return len({step for steps in found.values() for step in steps})


class RequestAnswers:
    """The snapshots and calls that one request uses, until its end, for one care unit."""

    def __init__(self, care_unit: CareUnitKey, calls: TimeslotCalls, scope: FetchScope) -> None:
        self._care_unit = care_unit
        self._calls = calls
        self._scope = scope
        self._semaphore = Semaphore(_CALLS_AT_ONCE)
        self._sources: dict[Step, Source] = {}
        self._recorded: set[Snapshot] = set()

    def __len__(self) -> int:
        return len(self._sources)

    def __contains__(self, step: Step) -> bool:
        return step in self._sources

    def items(self) -> ItemsView[Step, Source]:
        """Every step with its snapshot, or its call, which may be pending."""
        return self._sources.items()

    def pending(self) -> Mapping[Step, SharedCall[TimeslotList]]:
        """The pending calls of all requests that this one may join."""
        return self._calls.pending(self._care_unit, self._scope.since)

    def completed(self, step: Step) -> tuple[Step, Source] | None:
        """A source whose answer has come and contains that to a step, under the same filters."""
        for own, source in self._sources.items():
            if source.answer is not None and own.filters == step.filters and own.covers(step):
                return own, source
        return None

    def add(self, step: Step, source: Source) -> None:
        """Use a snapshot or a pending call from now on."""
        if step in self._sources:
            return
        self._sources[step] = source
        if isinstance(source, Snapshot):
            self.record(source)
        else:
            self._scope.on_ehr(self._care_unit.emr)
            self._hold(step, source.acquire(), CacheStatus.JOINED)

    def record(self, snapshot: Snapshot) -> None:
        """Record the read of a snapshot, once."""
        if snapshot not in self._recorded:
            self._recorded.add(snapshot)
            origin = CacheStatus.CACHED if self._calls.snapshots.is_fresh(snapshot) else CacheStatus.STALE
            self._record(snapshot.step, origin, snapshot.fetched_at)

    def count_calls(self, steps: Iterable[Step]) -> None:
        """Count the calls that steps need, before any of them is made. Raises OperationTooLarge and RateLimited."""
        pending = self.pending()
        calls = len({step for step in steps if step not in self._sources and step not in pending})
        if calls:
            self._scope.on_ehr(self._care_unit.emr)
        self._scope.count_calls(calls)

    def start_or_join(self, step: Step) -> Source:
        """The source for a step that was counted: the one in use, a pending call, or a new call."""
        source = self._sources.get(step)
        if source is None:
            source = self.pending().get(step)
            if source is not None:
                self.add(step, source)
            else:
                source = self._sources[step] = self._calls.start(step, self._semaphore)
                self._hold(step, source, CacheStatus.FETCHED)
        return source

    def refresh(self, step: Step) -> None:
        """Fetch an answer anew, unless a call failed a moment ago or the request may make none."""
        # The request does not wait for it, so the call keeps the holder that it gets here.
        if not self._calls.may_refresh(self._care_unit):
            return
        call = self.pending().get(step)
        if call is not None:
            call.acquire()
        elif self._scope.may_refresh():
            self._calls.start(step, self._semaphore)

    def _hold(self, step: Step, call: SharedCall[TimeslotList], origin: CacheStatus) -> None:
        self._scope.release_on_close(call)
        self._record(step, origin, call.started)

    def _record(self, step: Step, origin: CacheStatus, fetched_at: float) -> None:
        subject = (*step.care_unit, step.window, step.resource, step.service)
        is_overdue = origin is CacheStatus.STALE and self._calls.has_failed(step.care_unit)
        read = FetchRecord("timeslots", subject, origin, fetched_at, is_overdue)
        self._scope.record(read, fetched_at + self._calls.snapshots.lifetimes.fresh)


class QueryCoverage:
    """The covered ranges of all that one request asks of one care unit; `errors` has the queries without any."""

    def __init__(
        self, care_unit: CareUnitKey, calls: TimeslotCalls, unit_lists: UnitListLoader, scope: FetchScope
    ) -> None:
        self.care_unit = care_unit
        self.calls = calls
        self.unit_lists = unit_lists
        self._scope = scope
        self._planning = Lock()
        self._answers = RequestAnswers(care_unit, calls, scope)
        self._cached: list[TimeslotQuery] = []
        self._ranges: dict[TimeslotQuery, list[CoveredRange]] = {}
        self._planned: list[TimeslotQuery] = []
        self.errors: dict[TimeslotQuery, GatewayError] = {}

    def of(self, query: TimeslotQuery) -> Sequence[CoveredRange]:
        """The ranges of a query that was planned."""
        return self._ranges.get(query, ())

    def is_rounded_up(self, query: TimeslotQuery, step: Step) -> bool:
        """Whether a step asks for more than a query, to the end of its last day."""
        return query.window.end != step.window.end == self._round_up(query.window, self._profile).end

    def from_cache(self, query: TimeslotQuery) -> TimeslotList | None:
        """The slots of a query, where fresh snapshots settle it."""
        if self._answers or not self._scope.may_use_cache:
            return None
        profile = self._profile
        if not query.allowed_by(profile.filter_policy):
            return None
        used = self.calls.snapshots.fresh(query, profile)
        if used is None:
            return None
        shares = [partition(part, snapshot.step, snapshot.answer) for snapshot, part in used]
        if None in shares:
            return None
        found = joined(share for share in shares if share is not None)
        if not found.slots and unconfirmed_ids(query, {each.step: each.answer for each, _ in used}):
            return None
        for snapshot, _ in used:
            self._answers.record(snapshot)
        self._cached.append(query)
        return found

    async def plan(self, queries: Sequence[TimeslotQuery]) -> None:
        """Cover each new query with what is known, and start the calls for the rest; one batch after the other."""
        async with self._planning:
            await self._plan(queries)

    async def _plan(self, queries: Sequence[TimeslotQuery]) -> None:
        queries = [each for each in queries if each not in self._ranges and each not in self.errors]
        profile = self._profile
        policy = profile.filter_policy
        listed_ids = await load_listed_ids(queries, policy, self.care_unit, self.unit_lists)
        if isinstance(listed_ids, GatewayError):
            # Queries that need no list must not fail with the list.
            self.errors.update((query, listed_ids) for query in queries if not query.allowed_by(policy))
            queries = [query for query in queries if query.allowed_by(policy)]
            listed_ids = ListedIds()
        missing: list[MissingRange] = []
        parts: list[TimeslotQuery] = []
        contained: dict[TimeslotQuery, TimeslotQuery] = {}
        before = len(self._planned)
        for query in sorted(queries, key=_containers_first):
            # Queries of one batch are planned together, except those that are spread over filters they do not name.
            earlier = (each for at, each in enumerate(self._planned) if at < before or not each.allowed_by(policy))
            container = next((each for each in earlier if each.settles(query, profile)), None)
            if container is not None:
                contained[query] = container
                continue
            self._planned.append(query)
            self._ranges[query] = []
            for part in spread(query, policy, listed_ids):
                parts.append(part)
                missing += self._use_known(query, part, profile)
        if missing:
            try:
                self._fetch(missing, parts, profile, listed_ids)
            except (OperationTooLarge, RateLimited) as error:
                # Not even those that are known in part may give that part as their answer.
                del self._planned[before:]
                for query in queries:
                    self._ranges.pop(query, None)
                    self.errors[query] = error
                return
        self._ranges.update((query, list(self._contained(container, query))) for query, container in contained.items())

    def _contained(self, container: TimeslotQuery, query: TimeslotQuery) -> Iterator[CoveredRange]:
        """The ranges of a query from those of an earlier one that contains it: what each of many resources gets.

        The earlier one may have been spread over filters of its own, so its ranges together hold the query's answer.
        """
        for each in self._ranges[container]:
            if serves(each.step, query) and (held := each.query.window.intersection(query.window)) is not None:
                yield CoveredRange(query.within(held), each.step, each.source)

    def _use_known(self, query: TimeslotQuery, part: TimeslotQuery, profile: EhrProfile) -> Iterator[MissingRange]:
        """Cover what is known of a query's part; gives the missing ranges, and the known ones that are stale."""
        missing = [part.window]
        stale: list[Window] = []
        for step, source in self._known_sources(part, profile):
            left: list[Window] = []
            for window in missing:
                held = _held_range(part, window, step, source)
                if held is None:
                    left.append(window)
                    continue
                self._ranges[query].append(held)
                self._answers.add(step, source)
                if isinstance(source, Snapshot) and not self.calls.snapshots.is_fresh(source):
                    stale.append(held.query.window)
                left += subtract([window], step.window)
            missing = left
            if not missing:
                break
        if stale:
            for step in self._answers.pending():
                if step.settles(part.within(step.window), profile):
                    stale = subtract(stale, step.window)
        yield from (MissingRange(query, part, each) for each in missing)
        yield from (MissingRange(query, part, each, awaited=False) for each in stale)

    def _known_sources(self, part: TimeslotQuery, profile: EhrProfile) -> Iterator[tuple[Step, Source]]:
        """What may hold a range of a part: the request's own answers, then fresh and stale ones, then pending calls."""

        def settles(step: Step) -> bool:
            return step.allowed_by(profile.filter_policy) and step.settles(part.within(step.window), profile)

        yield from [(step, source) for step, source in self._answers.items() if settles(step)]
        if self._scope.may_use_cache:
            for snapshot in self.calls.snapshots.known(part, profile):
                yield snapshot.step, snapshot
        pending = self._answers.pending()
        yield from [(step, call) for step, call in pending.items() if step not in self._answers and settles(step)]

    def _fetch(
        self,
        missing: Sequence[MissingRange],
        parts: Sequence[TimeslotQuery],
        profile: EhrProfile,
        listed_ids: ListedIds,
    ) -> None:
        """Start the fewest calls for missing ranges of `parts`, or of some of them.

        Raises OperationTooLarge and RateLimited before the first of them.
        """
        loaded = self.unit_lists.asked_for(self.care_unit)
        known = self.unit_lists.known(self.care_unit)
        # Parts are spread already: here the lists only tell what a call costs.
        listed_ids = ListedIds(listed_ids.resources or known.resources, listed_ids.services or known.services)
        found = calls_for_missing(
            {each: each.part.within(self._worthwhile_window(each, profile)) for each in missing},
            [*self._cached, *parts],
            lambda wanted: plan(wanted, profile, listed_ids, loaded),
        )
        self._answers.count_calls(step for each, steps in found.items() if each.awaited for step in steps)
        for each, steps in found.items():
            for step in steps:
                held = each.window.intersection(step.window)
                if not each.awaited:
                    self._answers.refresh(step)
                elif held is not None:
                    source = self._answers.start_or_join(step)
                    self._ranges[each.query].append(CoveredRange(each.part.within(held), step, source))

    def _worthwhile_window(self, missing: MissingRange, profile: EhrProfile) -> Window:
        """The window to ask for: rounded up where the range ends with the query, and the EHR allows it."""
        if missing.window.end != missing.query.window.end or not self.calls.rounds_up(self.care_unit.emr):
            return missing.window
        return self._round_up(missing.window, profile)

    def _round_up(self, window: Window, profile: EhrProfile) -> Window:
        return to_end_of_day(window, profile.time_zone, profile.longest_window)

    async def cover_separately(
        self, query: TimeslotQuery, profile: EhrProfile
    ) -> Sequence[CoveredRange] | GatewayError:
        """The ranges of a query from calls that are made for it alone, whatever wider answers are known.

        Raises OperationTooLarge and RateLimited.
        """
        listed_ids = await load_listed_ids([query], profile.filter_policy, self.care_unit, self.unit_lists)
        if isinstance(listed_ids, GatewayError):
            return listed_ids
        steps = plan([query], profile, listed_ids).serving[query]
        self._answers.count_calls(step for step in steps if self._answers.completed(step) is None)
        ranges = []
        for step in steps:
            window = query.window.intersection(step.window)
            if window is not None:
                answered, source = self._answers.completed(step) or (step, self._answers.start_or_join(step))
                part = TimeslotQuery(self.care_unit, window, *step.filters)
                ranges.append(CoveredRange(part, answered, source))
        return ranges

    @property
    def _profile(self) -> EhrProfile:
        return self.calls.profiles.of_unit(self.care_unit)


def _held_range(part: TimeslotQuery, window: Window, step: Step, source: Source) -> CoveredRange | None:
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


def _containers_first(query: TimeslotQuery) -> tuple[int, timedelta]:
    """A sort key: fewer filters first, then longer windows, so a query comes after those that may contain it."""
    return query.filter_count, -query.window.length
