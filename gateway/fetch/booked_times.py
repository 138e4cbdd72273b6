"""What bookings do to the free times that everybody is shown, and whether a time is still free for one.

A booking, and a refusal that says that a time is taken, is a read in the law of order (`domain/read_order.py`) whose
instant is when its answer came. What is free after a cancellation nobody knows before it is asked again.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from gateway.domain.appointments import TimeRange
from gateway.domain.errors import BadUserInput, GatewayError, NotFound, Origin
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.personal_numbers import may_hide_a_personal_number
from gateway.domain.queries import ListedIds, Step, TimeslotQuery, UnitLists, wider_filters
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import ON_THE_WAY, Window, window_of_slot
from gateway.fetch.catalog import CachedLists, Catalog, CatalogList, K, T
from gateway.fetch.coverage import QueryCoverage
from gateway.fetch.fetch_scope import FetchScope
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.fetch.timeslot_fetcher import TimeslotFetcher


class BookedTimes:
    """The `FreeTimes` of bookings, over the calls and snapshots of all requests."""

    def __init__(
        self, calls: TimeslotCalls, catalog: Catalog, now: Callable[[], datetime], clock: Callable[[], float]
    ) -> None:
        self._calls = calls
        self._catalog = catalog
        self._now = now
        self._clock = clock

    async def is_free(self, wanted: TimeslotId) -> bool:
        """Whether Leyr lists a timeslot as free, asked by a call that begins now. Raises domain errors."""
        window = window_of_slot(wanted.start, wanted.end)
        profile = self._calls.profiles.of_unit(wanted.care_unit)
        if window.start < self._now() + ON_THE_WAY and not profile.past:
            return False
        lists = _UnitLists(self._catalog, FetchScope(self._clock()))
        try:
            if not await lists.hold(wanted):
                return False
            query = TimeslotQuery(wanted.care_unit, window, wanted.resource, wanted.service)
            try:
                return await self._holds(wanted, query, lists)
            except NotFound as error:
                if error.origin is not Origin.CLIENT:
                    # A bare 404 may mean anything.
                    raise
            for filters in wider_filters(query, profile):
                # With fewer filters Leyr may know what it refuses with more; where all are refused, it is gone.
                with suppress(NotFound):
                    if await self._holds(wanted, TimeslotQuery(wanted.care_unit, window, *filters), lists):
                        return True
            return False
        finally:
            lists.scope.close()

    def taken(self, care_unit: CareUnitKey, resource: str | None, service: str | None, when: TimeRange) -> None:
        """Show a time of a resource as free no more; where none is known, the service's slots at its start."""
        window = _window(when)
        if window is None:
            return
        if resource is None:
            window = Window(when.start, when.start + timedelta.resolution)
        step = Step(care_unit, window, resource, service if resource is None else None)
        self._calls.overwrite(step, TimeslotList())
        if resource is None:
            # Others may be free at the same start.
            self._calls.forget(care_unit, window)

    def changed(self, care_unit: CareUnitKey, when: TimeRange) -> None:
        """Let what is free at a time be asked again."""
        window = _window(when)
        if window is not None:
            self._calls.forget(care_unit, window)

    async def tell_others(self) -> None:
        """Wait until other processes know what is taken or changed, or cannot be told now."""
        await self._calls.tell_others()

    async def _holds(self, wanted: TimeslotId, query: TimeslotQuery, lists: "_UnitLists") -> bool:
        """Whether the answer to a query, asked anew, holds a slot. Raises domain errors."""
        now = self._clock()
        scope = FetchScope(now, now)
        found: list[TimeslotList | GatewayError] = []
        try:
            fetcher = TimeslotFetcher(QueryCoverage(query.care_unit, self._calls, lists, scope))
            await fetcher.answer([query], lambda _, answer: found.append(answer))
        finally:
            scope.close()
        answer = found[0]
        if isinstance(answer, GatewayError):
            raise answer
        return any(map(wanted.is_of, answer.within(Window(wanted.start, wanted.start + timedelta.resolution)).slots))


class _UnitLists:
    """A care unit's lists as they are cached, or loaded where they are needed."""

    def __init__(self, catalog: Catalog, scope: FetchScope) -> None:
        self._catalog = catalog
        self.scope = scope

    def asked_for(self, care_unit: CareUnitKey) -> UnitLists:
        return self.known(care_unit).known

    def known(self, care_unit: CareUnitKey) -> ListedIds:
        resources = self._catalog.resources.known(care_unit, self.scope)
        services = self._catalog.healthcare_services.known(care_unit, self.scope)
        return ListedIds(
            None if resources is None else tuple(resources.items), None if services is None else tuple(services.items)
        )

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        return tuple((await self._read(self._catalog.resources, care_unit)).items)

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        return tuple((await self._read(self._catalog.healthcare_services, care_unit)).items)

    async def hold(self, wanted: TimeslotId) -> bool:
        """Whether the lists hold those ids of a slot that may be personal numbers, which clients may write there."""
        key = wanted.care_unit
        if may_hide_a_personal_number(key.care_unit) and key.care_unit not in (
            (await self._read(self._catalog.care_units, key.emr)).items
        ):
            return False
        checked = ((wanted.resource, self.resource_ids), (wanted.service, self.service_ids))
        for leyr_id, ids in checked:
            if leyr_id is not None and may_hide_a_personal_number(leyr_id) and leyr_id not in await ids(key):
                return False
        return True

    async def _read(self, lists: CachedLists[K, T], key: K) -> CatalogList[T]:
        given = lists.get(key, self.scope)
        return given if isinstance(given, CatalogList) else await given


def _window(when: TimeRange) -> Window | None:
    """The window in which slots begin that a time takes; None beyond the calendar, where nothing is remembered."""
    try:
        return window_of_slot(when.start, when.end)
    except BadUserInput:
        return None
