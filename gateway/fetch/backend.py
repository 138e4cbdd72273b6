"""What fetching needs from outside: a scheduling system, and the care unit's lists as a request knows them.

Where the answer to a timeslots call is too large to be read, its window is asked in parts, for whoever waits.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple, Protocol, TypeAlias
from zoneinfo import ZoneInfo

from cachetools import FIFOCache

from gateway.domain.errors import GatewayError, OperationTooLarge, RateLimited, UpstreamAnswerTooLarge
from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource
from gateway.domain.pieces import PIECE, InPieces
from gateway.domain.queries import Filters, ListedIds, Step, UnitLists
from gateway.domain.timeslots import TimeslotList, joined, joined_in_pieces
from gateway.domain.window import Window, halves

# What the parts of one answer may hold together: as many slots as an operation may read unless set otherwise.
_MOST_SLOTS = 500_000
_MOST_TEXT_BYTES = 256 * 1024 * 1024
# Where answers were too large, so many parts are asked at the same time; each of them may be cut further.
_MOST_PARTS_AT_ONCE = 16
_REMEMBERED_SECONDS = 3_600
_MOST_REMEMBERED = 1_000
_MOST_OF = 0.9

CountCalls: TypeAlias = Callable[[int], None]
"""Counts further calls before they are made. Raises OperationTooLarge and RateLimited."""


def count_for_any(counting: Sequence[CountCalls], calls: int) -> None:
    """Count calls for the first of several requests that may make so many. Raises OperationTooLarge and RateLimited."""
    *others, last = counting
    for count_calls in others:
        with suppress(OperationTooLarge, RateLimited):
            count_calls(calls)
            return
    last(calls)


class SchedulingBackend(Protocol):
    """Every method is one upstream call, and raises domain errors only."""

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        """The care units of an EHR."""

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        """The resources of a care unit."""

    async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
        """The healthcare services of a care unit."""

    async def timeslots(self, step: Step) -> TimeslotList:
        """The free timeslots that one step asks for."""


class UnitListLoader(Protocol):
    """The lists of a care unit as one request knows them."""

    def asked_for(self, care_unit: CareUnitKey) -> UnitLists:
        """The lists that the request loads anyway."""

    def known(self, care_unit: CareUnitKey) -> ListedIds:
        """The ids of the lists that have been loaded; their numbers decide which calls save cost."""

    async def resource_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the resources."""

    async def service_ids(self, care_unit: CareUnitKey) -> tuple[str, ...]:
        """Leyr's ids of the healthcare services."""


class ListFailures(NamedTuple):
    """The errors with which lists of a care unit failed to load."""

    resources: GatewayError | None = None
    services: GatewayError | None = None

    def of(self, lists: UnitLists) -> GatewayError | None:
        """The failure of a query that is spread over these lists."""
        return (self.resources if lists.resources else None) or (self.services if lists.services else None)


@dataclass(slots=True, eq=False)
class _Parts:
    """The parts of one answer as they come, and what reads them."""

    semaphore: asyncio.Semaphore
    count_calls: CountCalls
    lists: list[TimeslotList] = field(default_factory=list)
    slots: int = 0
    text_bytes: int = 0
    dropped: int = 0
    began: list[float] = field(default_factory=list)

    def add(self, answer: TimeslotList, window: Window) -> None:
        """Add the answer to a part; another part tells of what lies beyond its window.

        Raises UpstreamAnswerTooLarge.
        """
        part = answer.within(window)
        self.lists.append(part)
        self.slots += len(part)
        self.text_bytes += answer.text_bytes or 0
        self.dropped += answer.dropped
        self.began += (each for each in (answer.began, answer.last_began) if each is not None)
        if self.slots > _MOST_SLOTS or self.text_bytes > _MOST_TEXT_BYTES:
            raise UpstreamAnswerTooLarge("Leyr's answer is larger than the gateway reads, also in parts")

    async def joined(self) -> TimeslotList:
        """All parts as one list."""
        whole = joined(self.lists) if self.slots <= PIECE else await InPieces(joined_in_pieces(self.lists))
        # A list of its own, since it may be one of the parts, or the list that stands for all that are empty.
        whole = whole.copy()
        whole.text_bytes, whole.dropped = self.text_bytes, self.dropped
        whole.began, whole.last_began = min(self.began, default=None), max(self.began, default=None)
        return whole


class DividedCalls:
    """Timeslots calls that become several where an answer is too large: the window is cut in halves until each fits.

    The windows whose answers were too large are remembered for an hour, so that the next call does not begin with such
    a one; that changes the calls and never the answer.
    """

    def __init__(
        self, backend: SchedulingBackend, zone_of: Callable[[CareUnitKey], ZoneInfo], clock: Callable[[], float]
    ) -> None:
        self._backend = backend
        self._zone_of = zone_of
        self._clock = clock
        self._too_large: FIFOCache[tuple[CareUnitKey, Filters], dict[Window, float]] = FIFOCache(_MOST_REMEMBERED)

    async def timeslots(self, step: Step, semaphore: asyncio.Semaphore, count_calls: CountCalls) -> TimeslotList:
        """The answer to a step, of which one call is counted already. Raises domain errors."""
        steps = self._known_parts(step, count_calls)
        if len(steps) > 1:
            parts = _Parts(semaphore, count_calls)
            await _all(self._read(each, parts) for each in steps)
            return await parts.joined()
        try:
            async with semaphore:
                return await self._backend.timeslots(step)
        except UpstreamAnswerTooLarge:
            steps = self._halves(step)
            if not steps:
                raise
        parts = _Parts(semaphore, count_calls)
        await self._read_each(steps, parts)
        return await parts.joined()

    async def _read_each(self, steps: Sequence[Step], parts: _Parts) -> None:
        """Read steps one after the other, since nothing says yet that shorter windows bring less."""
        parts.count_calls(len(steps))
        for each in steps:
            await self._read(each, parts)

    async def _read(self, step: Step, parts: _Parts) -> None:
        try:
            async with parts.semaphore:
                answer = await self._backend.timeslots(step)
        except UpstreamAnswerTooLarge:
            steps = self._halves(step)
            if not steps:
                raise
        else:
            parts.add(answer, step.window)
            return
        await self._read_each(steps, parts)

    def _halves(self, step: Step) -> Sequence[Step]:
        """The steps for the halves of a window whose answer was too large; none where it is short."""
        windows = halves(step.window, self._zone_of(step.care_unit))
        key = step.care_unit, step.filters
        if windows is None:
            # What does not get smaller with its window is no reason to begin with many parts.
            self._too_large.pop(key, None)
            return ()
        known = {**self._too_large.get(key, {}), step.window: self._clock()}
        if len(known) > _MOST_PARTS_AT_ONCE:
            # The longest say most: without them the next call would begin with one that is too large.
            del known[min(known, key=lambda each: each.length)]
        self._too_large[key] = known
        return [step.within(each) for each in windows]

    def _known_parts(self, step: Step, count_calls: CountCalls) -> Sequence[Step]:
        """The steps to begin with: the step itself, unless the answer to such a window was too large."""
        known = self._too_large.get((step.care_unit, step.filters))
        if known is None:
            return [step]
        since = self._clock() - _REMEMBERED_SECONDS
        windows = _divided(
            step.window, [each for each, at in known.items() if at > since], self._zone_of(step.care_unit)
        )
        try:
            count_calls(len(windows) - 1)
        except (OperationTooLarge, RateLimited):
            # Fewer calls may do, since clinics change.
            return [step]
        return [step.within(each) for each in windows]


def _divided(window: Window, too_large: Sequence[Window], zone: ZoneInfo) -> Sequence[Window]:
    """A window in halves of halves, as far as answers to such windows were too large, and in 16 parts at most."""
    windows: Sequence[Window] = [window]
    while len(windows) <= _MOST_PARTS_AT_ONCE // 2:
        cut = [(halves(each, zone) if _holds_most_of_one(each, too_large) else None) or (each,) for each in windows]
        if len(cut) == sum(map(len, cut)):
            break
        windows = list(chain.from_iterable(cut))
    return windows


def _holds_most_of_one(window: Window, others: Iterable[Window]) -> bool:
    """Whether a window holds most of another: those that begin now are never quite the same."""
    shares = ((window.intersection(other), other) for other in others)
    return any(share is not None and share.length >= _MOST_OF * other.length for share, other in shares)


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Await everything at the same time; what is still under way when the first fails is cancelled."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def load_listed_ids(
    lists: UnitLists, care_unit: CareUnitKey, unit_lists: UnitListLoader
) -> tuple[ListedIds, ListFailures]:
    """The ids of these lists, loaded at once, and what failed; lists that the request loads anyway cost no call."""
    if lists is UnitLists.NONE:
        return ListedIds(), ListFailures()
    loads = (
        _ids_or_error(unit_lists.resource_ids, care_unit, wanted=lists.resources),
        _ids_or_error(unit_lists.service_ids, care_unit, wanted=lists.services),
    )
    # A single list needs no task.
    resources, services = await asyncio.gather(*loads) if lists is UnitLists.BOTH else [await each for each in loads]
    found = [None if isinstance(each, GatewayError) else each for each in (resources, services)]
    failed = [each if isinstance(each, GatewayError) else None for each in (resources, services)]
    return ListedIds(*found), ListFailures(*failed)


async def _ids_or_error(
    load: Callable[[CareUnitKey], Awaitable[tuple[str, ...]]], care_unit: CareUnitKey, *, wanted: bool
) -> tuple[str, ...] | GatewayError | None:
    try:
        return await load(care_unit) if wanted else None
    except GatewayError as error:
        return error
