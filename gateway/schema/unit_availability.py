"""The free times of one care unit that an availability asks for: read, filtered, and what they lack."""

from asyncio import gather
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta

from gateway.domain.availability import AvailabilityRequest, DayRange, filtered
from gateway.domain.calendar_days import day_start
from gateway.domain.errors import GatewayError
from gateway.domain.free_times import SlotRange, UnitFreeTimes
from gateway.domain.models import CareUnitKey
from gateway.domain.pieces import InPieces
from gateway.domain.queries import TimeslotQuery
from gateway.domain.timeslots import TimeslotList, instant, joined_in_pieces
from gateway.fetch.fetch_scope import earliest
from gateway.schema.context import Context
from gateway.schema.coverage import CoverageGap, CoverageGapReason
from gateway.schema.timeslot import found_timeslots
from gateway.schema.timeslot_queries import CheckedQuery, UnitQueries

_DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class UnitAvailability:
    """What a care unit has free, and how it was asked for.

    `excluded` are the slots that filters took away which look at their times. `as_of` is the clock's seconds when the
    oldest of what was read was requested; None where nothing was. Of one that `is_failed` nothing is known.
    """

    free: UnitFreeTimes
    asked: UnitQueries
    excluded: int = 0
    gaps: tuple[CoverageGap, ...] = ()
    as_of: float | None = None
    is_failed: bool = False

    @property
    def key(self) -> CareUnitKey:
        """The care unit."""
        return self.free.key


async def load_unit_availability(
    context: Context, key: CareUnitKey, request: AvailabilityRequest, own: tuple[str | None, str | None]
) -> UnitAvailability:
    """What a care unit, or its own resource or service by Leyr's id, has free. Raises domain errors.

    What fails for some of several resources or services is a gap, and an error where nothing could be had.
    """
    return await UnitReader(context, key, request).read(context.queries.unit_queries(key, request, *own))


async def load_units_availability(
    context: Context, keys: Sequence[CareUnitKey], request: AvailabilityRequest
) -> list[UnitAvailability]:
    """What care units have free, each of them failed or not. Raises the first error where all failed."""
    # What is wrong with the arguments is no failure of a care unit.
    asked = [context.queries.unit_queries(key, request) for key in keys]

    async def load(key: CareUnitKey) -> UnitAvailability:
        await context.nodes.confirm_care_unit(key)
        return await load_unit_availability(context, key, request, (None, None))

    found = await gather(*map(load, keys), return_exceptions=True)
    units: list[UnitAvailability] = []
    errors: list[BaseException] = []
    for key, queries, result in zip(keys, asked, found, strict=True):
        if isinstance(result, UnitAvailability):
            units.append(result)
            continue
        errors.append(result)
        if not isinstance(result, GatewayError):
            raise result
        gap = failure_gap(context, TimeslotQuery(key, queries.days.window), result)
        nothing = UnitFreeTimes(key, SlotRange.of(TimeslotList()), queries.days)
        units.append(UnitAvailability(nothing, queries, gaps=(gap,), is_failed=True))
    if errors and len(errors) == len(units):
        raise errors[0]
    return units


def failure_gap(context: Context, query: TimeslotQuery, error: GatewayError) -> CoverageGap:
    """What is missing where a query failed; as with any other failure, whoever asks again is not told the same."""
    context.loaders.never_keep()
    return CoverageGap.of_error(query, error)


@dataclass(slots=True, eq=False)
class UnitReader:
    """Reads one care unit's free times for one field."""

    context: Context
    key: CareUnitKey
    request: AvailabilityRequest
    gaps: list[CoverageGap] = field(default_factory=list)
    as_of: float | None = None

    async def read(self, asked: UnitQueries) -> UnitAvailability:
        """All that is asked. Raises domain errors."""
        for each in asked.queries or ():
            # All in one turn, so that they are planned together.
            self.context.start_timeslots(each)
        if self.request.filter.healthcare_service_names is not None:
            is_picked = asked.services is None and asked.queries is not None
            asked = await self._named(asked)
            asked = asked._replace(is_picked=is_picked)
        slots = await self.slots(asked)
        found = await InPieces(filtered(slots, self.request.filter, asked.days.zone, self.context.now))
        self._expire(asked, found)
        free = UnitFreeTimes(self.key, found, asked.days)
        return UnitAvailability(free, asked, len(slots) - len(found), tuple(self.gaps), self.as_of)

    async def _named(self, asked: UnitQueries) -> UnitQueries:
        """The same with the services that are named; their queries only where no wider ones hold their slots."""
        listed = await self.context.loaders.services.load(self.key)
        if listed.dropped and asked.window is not None:
            every = TimeslotQuery(self.key, asked.window)
            self.gaps.append(CoverageGap.of_query(every, CoverageGapReason.ROWS_DROPPED))
        named = self.request.filter.names(listed.items.values())
        if asked.services is None and asked.queries is not None:
            return asked._replace(services=tuple(named))
        services = tuple(each for each in named if asked.services is None or each in asked.services)
        return self.context.queries.of_services(self.key, self.request, asked, services)

    async def slots(self, asked: UnitQueries) -> SlotRange:
        """The slots of all queries; where they are picked, those of the services alone. Raises domain errors."""
        lists = await self._lists(asked.queries or ())
        if not asked.is_picked:
            return await _as_one([SlotRange.of(each) for each in lists])
        ranges = [SlotRange.of(each) for each in lists]
        if any(len(each.of_owner(each.slots.of_service(None))) for each in ranges):
            # It is not told which service they are for, so each is asked for by itself.
            separate = self.context.queries.of_services(self.key, self.request, asked, asked.services or ())
            return await self.slots(separate._replace(is_picked=False))
        services = asked.services or ()
        return await _as_one([each.of_owner(each.slots.of_service(one)) for each in ranges for one in services])

    async def _lists(self, queries: Sequence[CheckedQuery]) -> list[TimeslotList]:
        """The answers to queries that did not fail; what they lack is noted. Raises the error where all fail."""
        lists: list[TimeslotList] = []
        failed: GatewayError | None = None
        for each in queries:
            self.context.start_timeslots(each)
        for checked in queries:
            if checked.query is None:
                continue
            try:
                lists.append(await found_timeslots(self.context, checked))
            except GatewayError as error:
                parts = await self.context.loaders.answered_parts(checked.query, error)
                if parts is None:
                    failed = failed or error
                    self.gaps.append(failure_gap(self.context, checked.query, error))
                    continue
                lists.append(parts.found)
                for (resource, service), why in parts.failed.items():
                    own = replace(checked.query, resource=resource, service=service)
                    self.gaps.append(failure_gap(self.context, own, why))
            self.context.expire_with_first(checked.query, lists[-1])
            self.gaps += self._lacking(checked.query)
        if failed is not None and not lists:
            raise failed
        return lists

    def _lacking(self, query: TimeslotQuery) -> Iterator[CoverageGap]:
        loaders = self.context.loaders
        summary = loaders.summary(query)
        self.as_of = earliest((self.as_of, summary.fetched_at))
        if summary.dropped:
            yield CoverageGap.of_query(query, CoverageGapReason.ROWS_DROPPED)
        if loaders.is_spread(query):
            every = replace(query, resource=None, service=None)
            yield CoverageGap.of_query(every, CoverageGapReason.OUTSIDE_EVERY_FILTER)

    def _expire(self, asked: UnitQueries, found: SlotRange) -> None:
        """Let the answer be kept only as long as it is still today, and as the first slot leaves the notice."""
        context, notice = self.context, self.request.filter.minimum_notice
        first = found.first
        if notice is not None and first is not None:
            context.expire_at(instant(first.start) - notice)
        span = self.request.range
        if span is None or (isinstance(span, DayRange) and span.first is None):
            zone = asked.days.zone
            context.expire_at(day_start(context.now.astimezone(zone).date() + _DAY, zone))


async def _as_one(ranges: Sequence[SlotRange]) -> SlotRange:
    """Several ranges as one; a single one keeps the indexes of its list."""
    filled = [each for each in ranges if len(each)]
    if len(filled) == 1:
        return filled[0]
    return SlotRange.of(await InPieces(joined_in_pieces([each.listed for each in filled])))
