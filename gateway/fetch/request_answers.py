"""The answers that one request has of a care unit's timeslots, and the calls that it makes for more."""

import asyncio
from collections.abc import ItemsView, Iterable
from typing import TypeAlias

from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.fetch_scope import CacheStatus, FetchScope
from gateway.fetch.single_flight import SharedCall
from gateway.fetch.snapshots import Snapshot
from gateway.fetch.timeslot_calls import TimeslotCalls

# Where an EHR wants a filter, one query may become a call for each resource; a clinic gets them a few at a time.
_CALLS_AT_ONCE = 8

Source: TypeAlias = Snapshot | SharedCall[TimeslotList]


class RequestAnswers:
    """What a request uses once it has to its end, whether or not anything is from_cache."""

    def __init__(self, care_unit: CareUnitKey, source: TimeslotCalls, scope: FetchScope) -> None:
        self._care_unit = care_unit
        self._source = source
        self._scope = scope
        self._gate = asyncio.Semaphore(_CALLS_AT_ONCE)
        self._own: dict[Step, Source] = {}
        self._noted: set[Snapshot] = set()

    def __len__(self) -> int:
        return len(self._own)

    def __contains__(self, step: Step) -> bool:
        return step in self._own

    def items(self) -> ItemsView[Step, Source]:
        """Every answer, those that are awaited too."""
        return self._own.items()

    def use(self, step: Step, source: Source) -> None:
        """Count an answer as the request's own from now on."""
        if step in self._own:
            return
        self._own[step] = source
        if isinstance(source, Snapshot):
            self.note(source)
        else:
            self._source.join(step, source, self._scope)

    def note(self, snapshot: Snapshot) -> None:
        """Tell the request's scope of a snapshot, once."""
        if snapshot not in self._noted:
            self._noted.add(snapshot)
            origin = CacheStatus.CACHED if self._source.is_fresh(snapshot) else CacheStatus.STALE
            self._source.note(snapshot.step, origin, snapshot.fetched_at, self._scope)

    def take(self, steps: Iterable[Step]) -> None:
        """Count the calls that steps need, before any of them is made. Raises OperationTooLarge."""
        running = self._source.in_flight(self._care_unit, self._scope)
        self._scope.take(len({step for step in steps if step not in self._own and step not in running}))

    def call(self, step: Step) -> Source:
        """The request's own call for a step that was taken: one on its way, or a new one."""
        found = self._own.get(step)
        if found is None:
            running = self._source.in_flight(self._care_unit, self._scope).get(step)
            if running is None:
                found = self._own[step] = self._source.launch(step, self._gate, self._scope)
            else:
                found = running
                self.use(step, running)
        return found

    def refresh(self, step: Step) -> None:
        """Have an answer fetched anew."""
        self._source.refresh(step, self._gate, self._scope)

    def landed(self, step: Step) -> tuple[Step, Source] | None:
        """An answer that the request has, and that a step's would be a part of by its window alone."""
        for own, source in self._own.items():
            if source.answer is not None and own.covers(step) and step.covers(own.within(step.window)):
                return own, source
        return None
