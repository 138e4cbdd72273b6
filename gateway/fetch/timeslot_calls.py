"""The timeslot calls of all requests: each is started once, shared while it is pending, and its answer cached."""

from asyncio import Semaphore
from collections import defaultdict
from collections.abc import Callable, Mapping
from functools import partial

from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.backend import SchedulingBackend
from gateway.fetch.cache_budget import SECONDS_BETWEEN_REFRESHES
from gateway.fetch.profiles import Profiles, remember
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot, Snapshots


class TimeslotCalls:
    """Starts calls, shares the pending ones and keeps their answers."""

    def __init__(
        self, backend: SchedulingBackend, profiles: Profiles, snapshots: Snapshots, clock: Callable[[], float]
    ) -> None:
        self.profiles = profiles
        self.snapshots = snapshots
        self._backend = backend
        self._clock = clock
        self._pending: defaultdict[CareUnitKey, dict[Step, SharedCall[TimeslotList]]] = defaultdict(dict)
        self._not_rounded_up: set[str] = set()
        self._failed_at: dict[CareUnitKey, float] = {}

    def rounds_up(self, emr: str) -> bool:
        """Whether windows are rounded up to the end of their last day."""
        return self.snapshots.lifetimes.fresh > 0 and emr not in self._not_rounded_up

    def learn_not_to_round_up(self, emr: str) -> None:
        """Remember that an EHR refused a window that was rounded up, and accepted the window itself."""
        self._not_rounded_up.add(emr)

    def pending(self, care_unit: CareUnitKey, since: float) -> Mapping[Step, SharedCall[TimeslotList]]:
        """The pending calls for a care unit that a request may join: none that started before `since`."""
        calls = self._pending.get(care_unit)
        if not calls:
            return {}
        return {step: call for step, call in calls.items() if call.joinable and call.started >= since}

    def start(self, step: Step, semaphore: Semaphore) -> SharedCall[TimeslotList]:
        """Start a call, with one holder."""
        started = self._clock()
        call: SharedCall[TimeslotList] = SharedCall(
            self._call(step, semaphore, started), started, partial(self._on_done, step)
        )
        self._pending[step.care_unit][step] = call
        return call

    def may_refresh(self, care_unit: CareUnitKey) -> bool:
        """Whether stale answers may be fetched anew: not soon after a call failed."""
        failed_at = self._failed_at.get(care_unit)
        return failed_at is None or self._clock() - failed_at >= SECONDS_BETWEEN_REFRESHES

    def has_failed(self, care_unit: CareUnitKey) -> bool:
        """Whether the last call for a care unit has failed."""
        return care_unit in self._failed_at

    async def _call(self, step: Step, semaphore: Semaphore, started: float) -> TimeslotList:
        async with semaphore:
            answer = await self._backend.timeslots(step)
        self.snapshots.keep(Snapshot(step, answer, started))
        return answer

    def _on_done(self, step: Step, call: SharedCall[TimeslotList]) -> None:
        if call.answer is not None:
            self._failed_at.pop(step.care_unit, None)
        elif call.joinable:
            remember(self._failed_at, step.care_unit, self._clock())
        calls = self._pending[step.care_unit]
        if calls.get(step) is call:
            del calls[step]
        if not calls:
            del self._pending[step.care_unit]
