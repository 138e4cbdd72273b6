"""How far this process has followed what others say of each care unit, and which of their calls it knows."""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from gateway.domain.models import CareUnitKey
from gateway.domain.timeslots import TimeslotList
from gateway.fetch.pending_reads import PendingRead
from gateway.fetch.timeslot_events import Landed, TimeslotEvent
from gateway.shared_store.event_log import BEFORE_ALL, EventMessage, Position

_MOST_UNITS = 10_000


@dataclass(slots=True, eq=False)
class RemoteCall:
    """A call of another process: pending, or landed and not looked at here; its outcome is None where it failed."""

    call: str
    read: PendingRead
    log: "UnitLog"
    outcome: "asyncio.Future[TimeslotList | None]"
    landed: Landed | None = None

    @property
    def is_joinable(self) -> bool:
        """Whether nothing says that what it asks has to be asked anew."""
        return not any(before > self.read.began for _, before in self.read.forgotten)


@dataclass(slots=True, eq=False)
class UnitLog:
    """A care unit's log: the events up to `seen` are known here, and all of them unless it `is_behind`."""

    care_unit: CareUnitKey
    name: str
    seen: Position = BEFORE_ALL
    is_behind: bool = True
    remote: dict[str, RemoteCall] = field(default_factory=dict)
    reading: "asyncio.Task[None] | None" = None
    early: list[EventMessage] = field(default_factory=list)
    """Messages that came while the log was read."""
    unsaid: list[TimeslotEvent] = field(default_factory=list)
    """What the others should have been told while the store was away."""
    landing: "asyncio.Task[None] | None" = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing landed elsewhere that is not remembered here yet."""
        return not self.remote or all(each.landed is None for each in self.remote.values())


class UnitLogs:
    """The logs that are followed, those used last; `on_dropped` is called with one that is followed no longer."""

    def __init__(self, name_of: Callable[[CareUnitKey], str], on_dropped: Callable[[UnitLog], None]) -> None:
        self._name_of = name_of
        self._on_dropped = on_dropped
        self._by_unit: OrderedDict[CareUnitKey, UnitLog] = OrderedDict()
        self._by_name: dict[str, UnitLog] = {}

    def __iter__(self) -> Iterator[UnitLog]:
        return iter(list(self._by_unit.values()))

    def known(self, care_unit: CareUnitKey) -> UnitLog | None:
        """The log of a care unit, where it is followed."""
        return self._by_unit.get(care_unit)

    def named(self, name: str) -> UnitLog | None:
        """The log of that name, where it is followed."""
        return self._by_name.get(name)

    def of(self, care_unit: CareUnitKey) -> UnitLog:
        """The log of a care unit, followed from now on."""
        log = self._by_unit.get(care_unit)
        if log is not None:
            self._by_unit.move_to_end(care_unit)
            return log
        log = self._by_unit[care_unit] = UnitLog(care_unit, self._name_of(care_unit))
        self._by_name[log.name] = log
        while len(self._by_unit) > _MOST_UNITS:
            _, dropped = self._by_unit.popitem(last=False)
            del self._by_name[dropped.name]
            self._on_dropped(dropped)
        return log
