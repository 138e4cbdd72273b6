"""Where the answers to one request's timeslot queries come from.

Each query is answered in ranges of its window: a recent snapshot holds one, a pending call will bring another, and a
new call has to be made for the rest. Only missing ranges are planned, so nothing that is known is fetched again. A
request's own calls count as known until its end, with or without a cache: the wide call that was started for
`resources { timeslots }` also answers each resource.
"""

from asyncio import Lock, sleep
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.errors import GatewayError, OperationTooLarge, RateLimited
from gateway.domain.models import CareUnitKey
from gateway.domain.pieces import InPieces, whole
from gateway.domain.planner import fewest_calls, needed_lists, plan, plan_in_pieces
from gateway.domain.queries import (
    Containers,
    Filters,
    ListedIds,
    Step,
    TimeslotQuery,
    TooManyCallsError,
    UnitLists,
    kept_filters,
    lists_spread_over,
    partition,
    spread,
    unconfirmed_ids,
)
from gateway.domain.timeslots import TimeslotList, joined
from gateway.domain.window import Window, subtract, to_end_of_day
from gateway.fetch.backend import UnitListLoader, load_listed_ids
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.known_sources import ByResource, CoveredRange, KnownSources, contained, held_range
from gateway.fetch.missing_ranges import MissingRange, calls_for_missing
from gateway.fetch.request_answers import RequestAnswers
from gateway.fetch.shared_reads import Claim, Position
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import Source, TimeslotCalls

# Queries that are looked at before others have their turn.
_QUERIES_A_PIECE = 500
# A thousand ids, each asked for in fifty windows.
_MOST_PARTS = 50_000
# Other processes may begin calls while it is planned; then what they ask is taken into account.
_MOST_PLANS = 20


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
        scope.generations[care_unit] = calls.snapshots.generation(care_unit)
        self.answers = RequestAnswers(care_unit, calls, scope)
        self._cached: list[TimeslotQuery] = []
        self._ranges: dict[TimeslotQuery, list[CoveredRange]] = {}
        self._planned = Containers()
        self.errors: dict[TimeslotQuery, GatewayError] = {}

    def of(self, query: TimeslotQuery) -> Sequence[CoveredRange]:
        """The ranges of a query that was planned."""
        return self._ranges.get(query, ())

    def is_rounded_up(self, query: TimeslotQuery, step: Step) -> bool:
        """Whether a step asks for more than a query, to the end of its last day."""
        return query.window.end != step.window.end == self._round_up(query.window, self._profile).end

    def from_cache(self, query: TimeslotQuery) -> TimeslotList | None:
        """The slots of a query, where fresh snapshots settle it."""
        if self.answers or not self.calls.is_settled(self.care_unit):
            return None
        profile = self._profile
        if not query.allowed_by(profile.filter_policy):
            return None
        used = self.calls.snapshots.fresh(query, profile, self._scope.since_of(self.care_unit))
        if used is None:
            return None
        shares = [partition(part, snapshot.step, snapshot.answer) for snapshot, part in used]
        if None in shares:
            return None
        found = joined(share for share in shares if share is not None)
        if not found.slots and unconfirmed_ids(query, {each.step: each.answer for each, _ in used}):
            return None
        self.answers.record_all(query, [snapshot for snapshot, _ in used])
        self._cached.append(query)
        return found

    async def plan(self, queries: Sequence[TimeslotQuery]) -> None:
        """Cover each new query with what is known, and start the calls for the rest; one batch after the other."""
        async with self._planning:
            await self._plan(queries)

    async def _plan(self, queries: Sequence[TimeslotQuery]) -> None:
        queries = [each for each in queries if each not in self._ranges and each not in self.errors]
        profile = self._profile
        lists = needed_lists(queries, profile)
        listed_ids, failed = await load_listed_ids(lists, self.care_unit, self.unit_lists)
        if any(failed):
            # A query that is not spread over the list must not fail with it.
            found = {query: failed.of(lists_spread_over(query, profile)) for query in queries}
            self.errors.update((query, error) for query, error in found.items() if error is not None)
            queries = [query for query in queries if query not in self.errors]
        joinable: list[SharedCall[TimeslotList]] = []
        try:
            for number in range(_MOST_PLANS):
                position = await self._catch_up(number, joinable)
                if await self._cover_all(queries, _Batch(listed_ids, position), profile):
                    return
        finally:
            for call in joinable:
                call.release()

    async def _catch_up(self, number: int, joinable: list[SharedCall[TimeslotList]]) -> Position | None:
        """Learn what other processes have said, and how much that is; None where no further plan is to be made.

        Their calls are among the joinable ones then.
        """
        if not self.calls.is_current(self.care_unit):
            joinable += await self.calls.catch_up(self.care_unit)
        return self.calls.position(self.care_unit) if number < _MOST_PLANS - 1 else None

    async def _cover_all(self, queries: Sequence[TimeslotQuery], batch: "_Batch", profile: EhrProfile) -> bool:
        """Cover queries; False where that has to be planned again, as other processes have begun calls meanwhile."""
        try:
            await self._cover_each(sorted(queries, key=_containers_first), batch, profile)
            if batch.missing and not await self._fetch(batch, profile):
                return False
        except (OperationTooLarge, RateLimited) as error:
            # Not even those that are known in part may give that part as their answer.
            for query in queries:
                self._ranges.pop(query, None)
                self.errors[query] = error
            return True
        for count, query in enumerate(batch.covered, 1):
            if count % _QUERIES_A_PIECE == 0:
                await sleep(0)
            self._planned.add(query)
        by_resource: dict[TimeslotQuery, ByResource] = {}
        for count, (query, container) in enumerate(batch.contained.items()):
            if count % _QUERIES_A_PIECE == _QUERIES_A_PIECE - 1:
                await sleep(0)
            if container not in by_resource:
                by_resource[container] = ByResource(self._ranges[container])
            self._ranges[query] = list(contained(by_resource[container].of(query.resource), query))
        return True

    async def _cover_each(self, queries: Iterable[TimeslotQuery], batch: "_Batch", profile: EhrProfile) -> None:
        for count, query in enumerate(queries):
            if count % _QUERIES_A_PIECE == 0:
                if count:
                    await sleep(0)
                # Pending calls come and go while others have their turn.
                known = KnownSources(self.answers, profile)
            self._cover(query, batch, known, profile)

    def _cover(self, query: TimeslotQuery, batch: "_Batch", known: "KnownSources", profile: EhrProfile) -> None:
        """Find what is known of a query, and what is missing. Raises OperationTooLarge."""
        # Queries of one batch are planned together, except those that are spread over filters they do not name.
        container = self._planned.of(query, profile) or batch.spread_out.of(query, profile)
        if container is not None:
            batch.contained[query] = container
            return
        # Counted as if nothing were cached, and before it is spread over a list of any length.
        if (fewest := fewest_calls(query, profile, batch.listed_ids)) > 1:
            self._scope.check_calls(max(fewest, len(batch.apart)))
        if lists_spread_over(query, profile) is not UnitLists.NONE:
            batch.spread_out.add(query)
        batch.covered.append(query)
        self._ranges[query] = []
        if len(batch.parts) > _MOST_PARTS:
            raise OperationTooLarge(
                f"The operation asks a care unit for free times in {len(batch.parts)} ways or more; the limit is "
                f"{_MOST_PARTS}"
            )
        for part in spread(query, profile, batch.listed_ids):
            batch.parts.append(part)
            batch.apart.add(kept_filters(part, profile))
            batch.missing += self._use_known(query, part, known)

    def _use_known(self, query: TimeslotQuery, part: TimeslotQuery, known: "KnownSources") -> Iterator[MissingRange]:
        """Cover what is known of a query's part; gives the missing ranges, and the known ones that are stale."""
        missing = [part.window]
        stale: list[Window] = []
        for step, source in self._known_sources(part, known):
            left: list[Window] = []
            for window in missing:
                held = held_range(part, window, step, source)
                if held is None:
                    left.append(window)
                    continue
                self._ranges[query].append(held)
                self.answers.add(step, source)
                if isinstance(source, Snapshot) and not self.calls.snapshots.is_fresh(source):
                    stale.append(held.query.window)
                left += subtract([window], step.window)
            missing = left
            if not missing:
                break
        if stale:
            for step, _ in known.pending(part):
                stale = subtract(stale, step.window)
        yield from (MissingRange(query, part, each) for each in missing)
        yield from (MissingRange(query, part, each, awaited=False) for each in stale)

    def _known_sources(self, part: TimeslotQuery, known: "KnownSources") -> Iterator[tuple[Step, Source]]:
        """What may hold a range of a part: the request's own answers, then fresh and stale ones, then pending calls."""
        yield from known.own(part)
        for snapshot in self.calls.snapshots.known(part, known.profile, self._scope.since_of(self.care_unit)):
            yield snapshot.step, snapshot
        yield from known.pending(part)

    async def _fetch(self, batch: "_Batch", profile: EhrProfile) -> bool:
        """Start the fewest calls for what is missing of a batch; False where that has to be planned again.

        Raises OperationTooLarge and RateLimited before the first of them.
        """
        rounded: dict[Window, Window] = {}
        wanted = {each: each.part.within(self._worthwhile_window(each, profile, rounded)) for each in batch.missing}
        found = _alone(wanted, profile)
        if found is None:
            found = await self._planned_calls(wanted, batch, profile)
        awaited = dict.fromkeys(step for each, steps in found.items() if each.awaited for step in steps)
        refreshed = dict.fromkeys(step for each, steps in found.items() if not each.awaited for step in steps)
        claims = await self.answers.claim(awaited, refreshed, batch.position)
        if claims is None:
            return False
        try:
            self.answers.count_calls(awaited)
        except (OperationTooLarge, RateLimited):
            self.calls.give_back(claims.values())
            raise
        # All of them are started before others have their turn, since what is counted now may be too much then.
        started = {step: self.answers.start_or_join(step, claims.get(step)) for step in awaited}
        for step in refreshed:
            if step not in started:
                self.answers.refresh(step, claims.get(step))
        for count, (each, steps) in enumerate(found.items(), 1):
            if count % _QUERIES_A_PIECE == 0:
                await sleep(0)
            for step in steps:
                held = each.window.intersection(step.window)
                if each.awaited and held is not None:
                    self._ranges[each.query].append(CoveredRange(each.part.within(held), step, started[step]))
        return True

    def count_slots(self, source: Source, slots: int) -> None:
        """Count what a call brought, once for the request."""
        self._scope.count_slots(source, slots)

    async def _planned_calls(
        self, wanted: Mapping[MissingRange, TimeslotQuery], batch: "_Batch", profile: EhrProfile
    ) -> Mapping[MissingRange, Sequence[Step]]:
        """The fewest calls for what is missing. Raises OperationTooLarge and TooManyCallsError."""
        loaded = self.unit_lists.asked_for(self.care_unit)
        known = self.unit_lists.known(self.care_unit)
        # Parts are spread already: here the lists only tell what a call costs.
        listed_ids = ListedIds(
            batch.listed_ids.resources or known.resources, batch.listed_ids.services or known.services
        )
        # Short of this, what is made is counted exactly, and what nothing waits for may be left out.
        limit = max(self._scope.most_calls, _QUERIES_A_PIECE)
        work = calls_for_missing(
            wanted,
            [*self._cached, *batch.parts],
            lambda queries: plan_in_pieces(queries, profile, listed_ids, loaded, limit=limit),
        )
        try:
            return whole(work) if len(wanted) <= _QUERIES_A_PIECE else await InPieces(work)
        except TooManyCallsError as error:
            self._scope.check_calls(error.calls)
            raise

    def _worthwhile_window(self, missing: MissingRange, profile: EhrProfile, rounded: dict[Window, Window]) -> Window:
        """The window to ask for: rounded up where the range ends with the query, and the EHR allows it."""
        if missing.window.end != missing.query.window.end or not self.calls.rounds_up(self.care_unit.emr):
            return missing.window
        if missing.window not in rounded:
            rounded[missing.window] = self._round_up(missing.window, profile)
        return rounded[missing.window]

    def _round_up(self, window: Window, profile: EhrProfile) -> Window:
        return to_end_of_day(window, profile.time_zone, profile.longest_window)

    async def cover_separately(
        self, query: TimeslotQuery, profile: EhrProfile
    ) -> Sequence[CoveredRange] | GatewayError:
        """The ranges of a query from calls that are made for it alone, whatever wider answers are known.

        Raises OperationTooLarge and RateLimited.
        """
        lists = needed_lists([query], profile)
        listed_ids, failed = await load_listed_ids(lists, self.care_unit, self.unit_lists)
        error = failed.of(lists)
        if error is not None:
            return error
        steps = plan([query], profile, listed_ids).serving[query]
        joinable: list[SharedCall[TimeslotList]] = []
        claims: dict[Step, Claim] = {}
        try:
            for number in range(_MOST_PLANS):
                position = await self._catch_up(number, joinable)
                new = [each for each in steps if self.answers.completed(each) is None]
                claimed = await self.answers.claim(new, (), position)
                if claimed is not None:
                    claims.update(claimed)
                    break
            return self._started(query, steps, claims)
        finally:
            # Those that were completed meanwhile.
            self.calls.give_back(claims.values())
            for call in joinable:
                call.release()

    def _started(self, query: TimeslotQuery, steps: Sequence[Step], claims: dict[Step, Claim]) -> list[CoveredRange]:
        """The ranges of a query from steps, started as far as they are not completed; their claims are taken out.

        Raises OperationTooLarge and RateLimited before the first of them.
        """
        self.answers.count_calls(step for step in steps if self.answers.completed(step) is None)
        ranges = []
        for step in steps:
            window = query.window.intersection(step.window)
            if window is not None:
                completed = self.answers.completed(step)
                answered, source = completed or (step, self.answers.start_or_join(step, claims.pop(step, None)))
                part = TimeslotQuery(self.care_unit, window, *step.filters)
                ranges.append(CoveredRange(part, answered, source))
        return ranges

    @property
    def _profile(self) -> EhrProfile:
        return self.calls.profiles.of_unit(self.care_unit)


def _alone(
    wanted: Mapping[MissingRange, TimeslotQuery], profile: EhrProfile
) -> Mapping[MissingRange, Sequence[Step]] | None:
    """The call for the only range that is missing, which needs no plan; None where there are more ranges or calls."""
    if len(wanted) != 1:
        return None
    ((missing, query),) = wanted.items()
    if profile.longest_window is not None and query.window.length > profile.longest_window:
        return None
    return {missing: [Step(query.care_unit, query.window, query.resource, query.service)]}


@dataclass(slots=True)
class _Batch:
    """Queries that are planned together; `apart` are the filters that no call for a part of them can do without.

    `position` says how much of what other processes said was known when that began.
    """

    listed_ids: ListedIds
    position: Position | None = None
    missing: list[MissingRange] = field(default_factory=list)
    parts: list[TimeslotQuery] = field(default_factory=list)
    covered: list[TimeslotQuery] = field(default_factory=list)
    spread_out: Containers = field(default_factory=Containers)
    apart: set[Filters] = field(default_factory=set)
    contained: dict[TimeslotQuery, TimeslotQuery] = field(default_factory=dict)


def _containers_first(query: TimeslotQuery) -> tuple[int, timedelta]:
    """A sort key: fewer filters first, then longer windows, so a query comes after those that may contain it."""
    return query.filter_count, -query.window.length
