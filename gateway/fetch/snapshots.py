"""Timeslots that were fetched seconds ago, each answer a snapshot of its window under its filters.

Snapshots of one care unit and one pair of filters never overlap: a newer one replaces the older in its window. What a
newer one says is also written into the older ones of other filters that it overlaps; where slots do not tell whether
they are meant, these are forgotten. So all that is cached agrees, and no answer goes back behind an earlier one.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import chain
from math import inf
from operator import attrgetter
from sys import getsizeof

from gateway.domain.ehr_profile import EhrProfile
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.queries import Filters, Step, TimeslotQuery
from gateway.domain.read_order import corrected, filters_meet
from gateway.domain.timeslots import TimeslotList
from gateway.domain.window import Window, subtract
from gateway.fetch.cache_budget import CacheConfig

# What a slot takes as a struct without its texts, what those of one owner take as a list, and what others may derive.
_SLOT_BYTES = 80
_OWNER_BYTES = 300
_DERIVED_SLOT_BYTES = 300
_SNAPSHOT_BYTES = 1_500
_DERIVED_SNAPSHOT_BYTES = 1_000
_GENERATION_BYTES = 500
# Slots of one list are much alike, so some of them tell what all take.
_SAMPLE = 64
# More are forgotten where a newer read overlaps them, as writing into each takes a hundredth of a millisecond or more.
_MOST_WRITTEN = 1_000
# Writing into a longer list takes many milliseconds.
_LONGEST_WRITTEN = 20_000


@dataclass(slots=True, eq=False)
class Snapshot:
    """The answer to a step; `fetched_at` is the clock's seconds when the call began.

    What newer reads say is written into `answer`. `reader` stands for the request that made the call: what one request
    read is kept together where slots do not name their owners.
    """

    step: Step
    answer: TimeslotList
    fetched_at: float
    reader: object = None
    arrived_at: float = -inf
    """The clock's seconds when it came from another process."""


class Generation:
    """What is cached of a care unit's timeslots, as long as nothing in it is changed or evicted."""

    __slots__ = ("is_current",)

    def __init__(self) -> None:
        self.is_current = True


class Snapshots:
    """The cached timeslots of all care units."""

    def __init__(self, config: CacheConfig) -> None:
        self.lifetimes = config.lifetimes
        self._config = config
        self._budget = config.budget
        self._clock = config.clock
        self._cached: dict[CareUnitKey, dict[Filters, list[Snapshot]]] = {}
        self._generations: dict[CareUnitKey, Generation] = {}

    def generation(self, care_unit: CareUnitKey) -> Generation:
        """The generation of a care unit's snapshots now, which what is made of them may be kept with."""
        found = self._generations.get(care_unit)
        if found is None:
            found = Generation()
            size = _GENERATION_BYTES + sum(map(getsizeof, care_unit))
            # What is evicted before it is used is not current.
            if self.lifetimes.fresh and self._budget.keep(found, size, partial(self.end_generation, care_unit)):
                self._generations[care_unit] = found
        else:
            self._budget.touch(found)
        return found

    def known(self, query: TimeslotQuery, profile: EhrProfile, since: float = -inf) -> list[Snapshot]:
        """Snapshots that hold a range of a query's answer and may be served, the newest first.

        All of them were fetched after `since`.
        """
        by_filters = self._cached.get(query.care_unit)
        if by_filters is None:
            return []
        oldest = self._clock() - self.lifetimes.served
        found = [
            snapshot
            for filters in _settling(query, profile)
            if filters in by_filters
            for snapshot in _overlapping(by_filters[filters], query.window)
            if snapshot.fetched_at > oldest and snapshot.fetched_at > since
        ]
        found.sort(key=lambda snapshot: -snapshot.fetched_at)
        for snapshot in found:
            self._budget.touch(snapshot)
        return found

    def meeting(self, step: Step) -> list[Snapshot]:
        """The snapshots that may be served and whose answers may hold a slot of the answer to a step."""
        return self._meeting(step, self._clock() - self.lifetimes.served)

    def __contains__(self, care_unit: CareUnitKey) -> bool:
        return care_unit in self._cached

    def is_fresh(self, snapshot: Snapshot) -> bool:
        """Whether a snapshot needs no refresh."""
        return self._clock() - snapshot.fetched_at < self.lifetimes.fresh

    def fresh(
        self, query: TimeslotQuery, profile: EhrProfile, since: float = -inf
    ) -> Sequence[tuple[Snapshot, TimeslotQuery]] | None:
        """Fresh snapshots that hold the whole of a query, each with the range of the query that it is used for."""
        missing = [query.window]
        used: list[tuple[Snapshot, TimeslotQuery]] = []
        for snapshot in self.known(query, profile, since):
            if not self.is_fresh(snapshot):
                return None
            window = snapshot.step.window
            if window.contains(query.window) and not used:
                return [(snapshot, query)]
            used += [(snapshot, query.within(held)) for each in missing if (held := each.intersection(window))]
            missing = subtract(missing, window)
            if not missing:
                return used
        return None

    def keep(self, snapshot: Snapshot) -> None:
        """Cache an answer, in place of what older ones hold of its window; others may derive data from it.

        It holds slots of its window and filters alone (`own_slots`), and says what newer reads said, where it overlaps
        them.
        """
        if not self.lifetimes.fresh:
            return
        self._add_derived(snapshot.answer)
        oldest = self._clock() - self.lifetimes.served
        # All that goes, goes before anything comes, since what comes may evict others.
        written, left = self._write(snapshot, oldest, is_kept=True)
        windows, cut = self._replace(snapshot, oldest)
        is_empty = not snapshot.answer.slots and not snapshot.answer.dropped
        neighbour = self._adjacent(snapshot) if cut is None and is_empty else None
        if neighbour is not None:
            # Clients whose clocks differ ask for a second more each; nothing is free in it, as a rule.
            self._drop(neighbour)
            snapshot = _extended(neighbour, snapshot)
        for each in (*left, *(cut or ())):
            self._add(each)
        for window in windows:
            self._add(snapshot if window == snapshot.step.window or neighbour else self._cut(snapshot, window))
        self._weigh(written)

    def overwrite(self, snapshot: Snapshot) -> None:
        """Write what somebody knows without a read into what was asked before; it answers no query itself."""
        step = snapshot.step
        self.end_generation(step.care_unit)
        written, left = self._write(snapshot, self._clock() - self.lifetimes.served, is_kept=False)
        for each in left:
            self._add(each)
        self._weigh(written)

    def forget(self, care_unit: CareUnitKey, window: Window, before: float) -> None:
        """Forget what was fetched before an instant of a window, so that it is asked again."""
        self.end_generation(care_unit)
        found = [
            each
            for siblings in self._cached.get(care_unit, {}).values()
            for each in _overlapping(siblings, window)
            if each.fetched_at < before
        ]
        for each in found:
            self._drop(each)
        for each in found:
            for left in subtract([each.step.window], window):
                self._add(self._cut(each, left))

    def _weigh(self, written: Iterable[Snapshot]) -> None:
        for each in written:
            # Those that were evicted meanwhile stay evicted.
            if each in self._budget:
                self._budget.keep(each, _bytes(each), partial(self._evict, each))

    def _replace(self, snapshot: Snapshot, oldest: float) -> tuple[Sequence[Window], Sequence[Snapshot] | None]:
        """Drop what a snapshot replaces of those with the same filters, and those that are too old.

        Gives the windows that it is to be kept for, and what is left of those that it overlaps; None where it overlaps
        no other.
        """
        step = snapshot.step
        siblings = self._siblings(step)
        overlapping = _overlapping(siblings, step.window)
        windows, replaced = [step.window], []
        for other in overlapping:
            if other.fetched_at > snapshot.fetched_at:
                windows = subtract(windows, other.step.window)
            else:
                replaced.append(other)
        expired = [each for each in siblings if each.fetched_at <= oldest]
        for each in dict.fromkeys((*replaced, *expired)):
            self._drop(each)
        left = [
            self._cut(older, window)
            for older in replaced
            if older.fetched_at > oldest
            for window in subtract([older.step.window], step.window)
        ]
        return windows, left if overlapping else None

    def _write(
        self, snapshot: Snapshot, oldest: float, *, is_kept: bool
    ) -> tuple[Sequence[Snapshot], Sequence[Snapshot]]:
        """Write a snapshot into those that it overlaps, and drop those that it cannot be written into.

        Where it is kept itself, those of the same filters are left as they are, since it replaces them. Gives what was
        written, and what is left of what was dropped. Ends the generation where anything cached said something else.
        """
        step = snapshot.step
        written: list[Snapshot] = []
        forgotten: list[Snapshot] = []
        has_changed = False
        for count, other in enumerate(self._meeting(step, oldest, inf if is_kept else snapshot.fetched_at)):
            answer = None
            if count < _MOST_WRITTEN:
                answer = corrected(
                    other.answer,
                    other.step,
                    snapshot.answer,
                    step,
                    # What one request reads is told apart by its calls alone, where slots do not name their owners.
                    leaves_unnamed=_is_of_one_reader(other, snapshot),
                    longest=_LONGEST_WRITTEN,
                )
                if answer is other.answer:
                    self._renew(other)
                    continue
            has_changed = True
            if answer is None:
                forgotten.append(other)
                continue
            if not is_kept or other.step.filters != step.filters:
                self._add_derived(answer)
                other.answer = answer
                written.append(other)
        if has_changed:
            self.end_generation(step.care_unit)
        for each in forgotten:
            self._drop(each)
        left = [self._cut(each, window) for each in forgotten for window in subtract([each.step.window], step.window)]
        return written, left

    def _renew(self, snapshot: Snapshot) -> None:
        """Let requests to come use a snapshot that agrees, whose answer those under way were told to make anew."""
        if snapshot.answer.is_outdated:
            snapshot.answer = snapshot.answer.copy()
            self._add_derived(snapshot.answer)

    def _meeting(self, step: Step, oldest: float, newest: float = inf) -> list[Snapshot]:
        found: list[Snapshot] = []
        for siblings in self._cached.get(step.care_unit, {}).values():
            if filters_meet(siblings[0].step, step):
                found += (each for each in _overlapping(siblings, step.window) if oldest < each.fetched_at <= newest)
        return found

    def end_generation(self, care_unit: CareUnitKey) -> None:
        """End a care unit's generation, and with it what is kept of its answers."""
        ended = self._generations.pop(care_unit, None)
        if ended is not None:
            self._budget.drop(ended)
            ended.is_current = False

    def _siblings(self, step: Step) -> Sequence[Snapshot]:
        return self._cached.get(step.care_unit, {}).get(step.filters, ())

    def _adjacent(self, snapshot: Snapshot) -> Snapshot | None:
        """A fresh sibling that begins or ends where a snapshot ends or begins."""
        window, siblings = snapshot.step.window, self._siblings(snapshot.step)
        place = bisect_left(siblings, window.start, key=_start)
        oldest = self._clock() - self.lifetimes.fresh
        for sibling in siblings[max(place - 1, 0) : place + 1]:
            beside = sibling.step.window
            is_beside = beside.end == window.start or beside.start == window.end
            if is_beside and sibling.fetched_at > oldest:
                return sibling
        return None

    def _add(self, snapshot: Snapshot) -> None:
        step = snapshot.step
        siblings = self._cached.setdefault(step.care_unit, {}).setdefault(step.filters, [])
        siblings.insert(bisect_left(siblings, step.window.start, key=_start), snapshot)
        if not self._budget.keep(snapshot, _bytes(snapshot), partial(self._evict, snapshot)):
            self._evict(snapshot)

    def _evict(self, snapshot: Snapshot) -> None:
        # What is kept of it could not be told from what a newer read says.
        self.end_generation(snapshot.step.care_unit)
        self._remove(snapshot)

    def _cut(self, snapshot: Snapshot, window: Window) -> Snapshot:
        # A list of its own: a part would keep what was derived from the whole.
        answer = snapshot.answer.within(window).copy()
        # In which part of the window a row would have been that cannot be read, is not known.
        answer.dropped = snapshot.answer.dropped
        self._add_derived(answer)
        return Snapshot(snapshot.step.within(window), answer, snapshot.fetched_at, snapshot.reader)

    def _add_derived(self, answer: TimeslotList) -> None:
        answer.derived = self._config.new_derived(_derived_bytes(answer))

    def _drop(self, snapshot: Snapshot) -> None:
        self._budget.drop(snapshot)
        self._remove(snapshot)

    def _remove(self, snapshot: Snapshot) -> None:
        step = snapshot.step
        by_filters = self._cached[step.care_unit]
        siblings = by_filters[step.filters]
        del siblings[bisect_left(siblings, step.window.start, key=_start)]
        if not siblings:
            del by_filters[step.filters]
            if not by_filters:
                del self._cached[step.care_unit]


def _is_of_one_reader(one: Snapshot, other: Snapshot) -> bool:
    return one.reader is not None and one.reader is other.reader


def _bytes(snapshot: Snapshot) -> int:
    """About what a snapshot takes in memory, with all that is derived from it."""
    step = snapshot.step
    # Clients may name a resource and a service by ids of any length that an EHR does not refuse.
    names = sum(map(getsizeof, (*step.care_unit, *step.filters)))
    return _SNAPSHOT_BYTES + names + _slots_bytes(snapshot.answer) + _derived_bytes(snapshot.answer)


def _derived_bytes(answer: TimeslotList) -> int:
    return _DERIVED_SNAPSHOT_BYTES + len(answer) * _DERIVED_SLOT_BYTES


def _slots_bytes(answer: TimeslotList) -> int:
    """About what the slots of an answer take, and the lists that it keeps by their owners."""
    slots = answer.slots
    if len(slots) > 2 * _SAMPLE and answer.text_bytes is not None:
        sample = slots[:: len(slots) // _SAMPLE]
        size = _exact_slots_bytes(sample) * len(slots) // len(sample)
        # Texts that are longer than those of the sample show in what was received.
        if answer.text_bytes <= size:
            return size
    return _exact_slots_bytes(slots)


def _exact_slots_bytes(slots: Sequence[Timeslot]) -> int:
    owners = len(set(map(_RESOURCE, slots))) + len(set(map(_SERVICE, slots)))
    texts = sum(map(getsizeof, chain.from_iterable(map(_TEXTS, slots))))
    return texts + len(slots) * _SLOT_BYTES + owners * _OWNER_BYTES


_RESOURCE, _SERVICE = attrgetter("resource_id"), attrgetter("healthcare_service_id")
_TEXTS = attrgetter("start", "end", "resource_id", "healthcare_service_id")


def _start(snapshot: Snapshot) -> datetime:
    return snapshot.step.window.start


def _overlapping(siblings: Sequence[Snapshot], window: Window) -> list[Snapshot]:
    """The snapshots that overlap a window, out of siblings: these never overlap each other and are in order."""
    first = bisect_right(siblings, window.start, key=_start)
    if first and siblings[first - 1].step.window.end > window.start:
        first -= 1
    return list(siblings[first : bisect_left(siblings, window.end, first, key=_start)])


def _settling(query: TimeslotQuery, profile: EhrProfile) -> Iterator[Filters]:
    """The pairs of filters whose answers tell which slots belong to the query."""
    resources = {query.resource} | ({None} if profile.names_resource else set())
    services = {query.service} | ({None} if profile.names_service else set())
    for resource in resources:
        for service in services:
            yield resource, service


def _extended(snapshot: Snapshot, by: Snapshot) -> Snapshot:
    """A snapshot and an adjacent one without slots as one, which is as old as the older of the two."""
    step, beside = snapshot.step, by.step.window
    window = Window(min(step.window.start, beside.start), max(step.window.end, beside.end))
    reader = snapshot.reader if snapshot.reader is by.reader else None
    return Snapshot(step.within(window), snapshot.answer, min(snapshot.fetched_at, by.fetched_at), reader)
