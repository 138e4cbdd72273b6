"""Timeslots that were fetched seconds ago, each answer a snapshot of its window under its filters.

Snapshots of one care unit and one pair of filters never overlap: a newer one takes the place of the older in its
window. So what they say of an instant is one thing.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnitKey
from gateway.domain.queries import Step, TimeslotQuery
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window, without
from gateway.engine.lazy_list import FragmentCache
from gateway.fetch.cache_budget import CacheBudget, Lifetimes

# What a slot takes as a struct with its texts, and what answers may keep of it as bytes.
_SLOT_BYTES = 450
_RENDERED_SLOT_BYTES = 300
_SNAPSHOT_BYTES = 2_500

_Filters: TypeAlias = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, eq=False)
class Snapshot:
    """The answer to a step; `fetched_at` is the clock's seconds when the call began."""

    step: Step
    answer: TimeslotList
    fetched_at: float

    async def outcome(self) -> TimeslotList:
        """The answer, as for a call in call."""
        return self.answer


class Snapshots:
    """All that is from_cache of timeslots."""

    def __init__(self, lifetimes: Lifetimes, memory: CacheBudget, clock: Callable[[], float]) -> None:
        self.lifetimes = lifetimes
        self._budget = memory
        self._clock = clock
        self._kept: dict[CareUnitKey, dict[_Filters, list[Snapshot]]] = {}

    def room(self, slots: int) -> int:
        """How many bytes answers may keep of a snapshot of so many slots."""
        return slots * _RENDERED_SLOT_BYTES

    def known(self, query: TimeslotQuery, profile: EhrProfile) -> list[Snapshot]:
        """Snapshots that hold a part of a query's answer and may be served, the newest first."""
        by_filters = self._kept.get(query.care_unit)
        if by_filters is None:
            return []
        oldest = self._clock() - self.lifetimes.served
        found = [
            snapshot
            for filters in _looser(query, profile)
            if filters in by_filters
            for snapshot in _overlapping(by_filters[filters], query.window)
            if snapshot.fetched_at > oldest
        ]
        found.sort(key=lambda snapshot: -snapshot.fetched_at)
        for snapshot in found:
            self._budget.used(snapshot)
        return found

    def keep(self, snapshot: Snapshot) -> None:
        """Remember an answer, in place of what older ones say of its window."""
        if not self.lifetimes.fresh:
            return
        step, oldest = snapshot.step, self._clock() - self.lifetimes.served
        siblings = self._siblings(step)
        overlapping = _overlapping(siblings, step.window)
        windows, replaced = [step.window], []
        for other in overlapping:
            if other.fetched_at > snapshot.fetched_at:
                windows = [left for window in windows for left in without(window, other.step.window)]
            else:
                replaced.append(other)
        outlived = [each for each in siblings if each.fetched_at <= oldest]
        # All of them go before anything comes, since what comes may push others out.
        for each in dict.fromkeys((*replaced, *outlived)):
            self._forget(each)
        for older in replaced:
            if older.fetched_at > oldest:
                for left in without(older.step.window, step.window):
                    self._add(self._cut(older, left))
        neighbour = None if overlapping or len(snapshot.answer) else self._touching(snapshot)
        if neighbour is not None:
            # Clients whose clocks differ ask for a second more each; nothing is free in it, as a rule.
            self._forget(neighbour)
            snapshot = _widened(neighbour, snapshot)
        for window in windows:
            self._add(snapshot if window is step.window else self._cut(snapshot, window))

    def _siblings(self, step: Step) -> Sequence[Snapshot]:
        return self._kept.get(step.care_unit, {}).get((step.resource, step.service), ())

    def _touching(self, snapshot: Snapshot) -> Snapshot | None:
        """A fresh sibling that begins or ends where a snapshot ends or begins."""
        window, siblings = snapshot.step.window, self._siblings(snapshot.step)
        place = bisect_left(siblings, window.start, key=_start)
        oldest = self._clock() - self.lifetimes.fresh
        for sibling in siblings[max(place - 1, 0) : place + 1]:
            beside = sibling.step.window
            if (beside.end == window.start or beside.start == window.end) and sibling.fetched_at > oldest:
                return sibling
        return None

    def _add(self, snapshot: Snapshot) -> None:
        step = snapshot.step
        siblings = self._kept.setdefault(step.care_unit, {}).setdefault((step.resource, step.service), [])
        siblings.insert(bisect_left(siblings, step.window.start, key=_start), snapshot)
        size = _SNAPSHOT_BYTES + len(snapshot.answer) * (_SLOT_BYTES + _RENDERED_SLOT_BYTES)
        if not self._budget.keep(snapshot, size, lambda: self._remove(snapshot)):
            self._remove(snapshot)

    def _cut(self, snapshot: Snapshot, window: Window) -> Snapshot:
        slots = snapshot.answer.within(window).slots
        # A list of its own: as a part, it would keep the bytes that were made of the whole.
        answer = TimeslotList(slots)
        answer.fragments = FragmentCache(self.room(len(slots)))
        return Snapshot(_within(snapshot.step, window), answer, snapshot.fetched_at)

    def _forget(self, snapshot: Snapshot) -> None:
        self._budget.drop(snapshot)
        self._remove(snapshot)

    def _remove(self, snapshot: Snapshot) -> None:
        step = snapshot.step
        by_filters = self._kept[step.care_unit]
        siblings = by_filters[step.resource, step.service]
        del siblings[bisect_left(siblings, step.window.start, key=_start)]
        if not siblings:
            del by_filters[step.resource, step.service]
            if not by_filters:
                del self._kept[step.care_unit]


def _start(snapshot: Snapshot) -> datetime:
    return snapshot.step.window.start


def _overlapping(siblings: Sequence[Snapshot], window: Window) -> list[Snapshot]:
    """Those of siblings, which never overlap each other and stand in order, that overlap a window."""
    first = bisect_right(siblings, window.start, key=_start)
    if first and siblings[first - 1].step.window.end > window.start:
        first -= 1
    return list(siblings[first : bisect_left(siblings, window.end, first, key=_start)])


def _looser(query: TimeslotQuery, profile: EhrProfile) -> Iterator[_Filters]:
    """The pairs of filters whose answers tell which slots are the query's own."""
    resources = {query.resource} | ({None} if profile.names_resource else set())
    services = {query.service} | ({None} if profile.names_service else set())
    for resource in resources:
        for service in services:
            yield resource, service


def _widened(snapshot: Snapshot, by: Snapshot) -> Snapshot:
    """A snapshot that also says that nothing is free in a stretch beside it; it is as old as the older of the two."""
    step, beside = snapshot.step, by.step.window
    window = Window(min(step.window.start, beside.start), max(step.window.end, beside.end))
    return Snapshot(_within(step, window), snapshot.answer, min(snapshot.fetched_at, by.fetched_at))


def _within(step: Step, window: Window) -> Step:
    return Step(step.care_unit, window, step.resource, step.service)
