"""Event logs in the shared store: what processes did about one subject, in one order for all of them.

A log is short: its events are of use for half a minute. Whoever appends may say which event is the last that it knows;
where there are newer ones nothing is written, and these are given instead. So of several processes that want to begin
the same, one does, and the others know of it. Each appended event is sent to all processes too; a message says which
event it follows, so that one that was missed shows.

What an event is about may be written beside it as a value of its own, which only those read who want it. Leases say
that a process still works on what it began.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from gateway.shared_store.errors import AwayReason, StoreAwayError
from gateway.shared_store.script import Script, ScriptResult

if TYPE_CHECKING:
    # Who uses logs, where nothing is shared, imports no cryptography by that.
    from gateway.shared_store.sealing import Sealing
    from gateway.shared_store.store import SharedStore

Position = tuple[int, int]
"""Where an event stands in a log. Positions rise, also where a log is begun anew, as they hold the server's time."""
BEFORE_ALL: Position = (0, 0)

_CHANNEL = "events"
_SEPARATOR = b"|"
_MOST_EVENTS = 1_000
_LAST_EVENTS = 100
_KEPT_MILLISECONDS = 90_000
# To open an event takes a hundredth of a millisecond; values of so many bytes together take a few milliseconds.
_OPENED_AT_ONCE = 100
_BYTES_AT_ONCE = 256 * 1024
_LONGEST_MESSAGE = 256 * 1024

# ARGV: position of the last known event or "" for any, oldest time kept (ms before now), most events, ms that the log
# is kept, channel, name, ms of the value or 0, value, ms of leases, then each event and its lease or "".
# KEYS: log, value, then a lease for each event.
_APPEND = Script(
    """\
local last = '0-0'
local found = redis.pcall('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)
-- Something else that somebody put there.
if found.err and string.find(found.err, 'WRONGTYPE', 1, true) then redis.call('DEL', KEYS[1]) end
if found[1] then last = found[1][1] end
if ARGV[1] ~= '' and last ~= '0-0' then
  local newer = redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[3])
  if newer[1] then
    local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
    return {0, oldest[1][1], newer}
  end
end
local now = redis.call('TIME')
local ms = tonumber(now[1]) * 1000 + math.floor(tonumber(now[2]) / 1000)
if ARGV[7] ~= '0' then redis.pcall('SET', KEYS[2], ARGV[8], 'PX', ARGV[7]) end
for i = 10, #ARGV, 2 do
  local dash = string.find(last, '-', 1, true)
  local last_ms, last_seq = tonumber(string.sub(last, 1, dash - 1)), tonumber(string.sub(last, dash + 1))
  local id = string.format('%.0f-0', ms)
  if last_ms >= ms then id = string.format('%.0f-%.0f', last_ms, last_seq + 1) end
  local added = redis.pcall('XADD', KEYS[1], id, 'e', ARGV[i])
  if type(added) == 'table' and added.err then
    -- What newer events say must not be missed, so without room for them there is no log at all.
    redis.pcall('DEL', KEYS[1])
    redis.pcall('PUBLISH', ARGV[5], ARGV[6] .. '|' .. last .. '|0-0|' .. ARGV[i])
    return added
  end
  if ARGV[i + 1] ~= '' then redis.pcall('SET', KEYS[2 + (i - 8) / 2], ARGV[i + 1], 'PX', ARGV[9]) end
  redis.call('PUBLISH', ARGV[5], ARGV[6] .. '|' .. last .. '|' .. id .. '|' .. ARGV[i])
  last = id
end
redis.call('XTRIM', KEYS[1], 'MINID', string.format('%.0f-0', ms - tonumber(ARGV[2])))
redis.call('XTRIM', KEYS[1], 'MAXLEN', ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
return {1, oldest[1][1], last}
"""
)
# ARGV: position after which to read, most events. KEYS: log.
_READ = Script(
    """\
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if not oldest[1] then return {'0-0', {}} end
return {oldest[1][1], redis.call('XRANGE', KEYS[1], '(' .. ARGV[1], '+', 'COUNT', ARGV[2])}
""",
    only_reads=True,
)
# ARGV: how many of the last events. KEYS: log, value.
_READ_WITH_VALUE = Script(
    """\
local value = redis.call('MGET', KEYS[2])[1]
local oldest = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
if not oldest[1] then return {'0-0', {}, value} end
return {oldest[1][1], redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', ARGV[1]), value}
""",
    only_reads=True,
)
# Lua unpacks some thousand at a time.
_VALUES = Script(
    """\
local found = {}
for first = 1, #KEYS, 1000 do
  local some = redis.call('MGET', unpack(KEYS, first, math.min(first + 999, #KEYS)))
  for i = 1, #some do found[first + i - 1] = some[i] end
end
return found
""",
    only_reads=True,
)
# ARGV: ms, then the token of each lease. KEYS: leases.
_RENEW = Script(
    """\
local renewed = 0
for i, key in ipairs(KEYS) do
  if redis.call('GET', key) == ARGV[i + 1] then renewed = renewed + redis.call('PEXPIRE', key, ARGV[1]) end
end
return renewed
"""
)
# ARGV: the token of the lease. KEYS: lease.
_END = Script("if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0")


class LoggedEvent(NamedTuple):
    """An event and where it stands; None for one that no process with this secret wrote under that name."""

    position: Position
    event: bytes | None


@dataclass(frozen=True, slots=True)
class LogPage:
    """The events of a log after some position, in order; `first` is the position of the oldest that the log still has.

    `server_time` is the server's clock in microseconds when they were read. What began before `first` must not be used:
    events that say what became of it may be gone.
    """

    first: Position
    events: Sequence[LoggedEvent]
    server_time: int


@dataclass(frozen=True, slots=True)
class Appended:
    """An event was written at a position; the log's oldest is at `first`."""

    position: Position
    first: Position
    server_time: int


@dataclass(slots=True, eq=False)
class EventMessage:
    """An event that some process appended (this one too) after the one at `previous`.

    Where the log could not be written, `position` is BEFORE_ALL: the log is gone, and the event has to be heeded.
    """

    log: str
    previous: Position
    position: Position
    _sealed: bytes
    _sealing: "Sealing | None"
    _event: bytes | None = None

    @property
    def event(self) -> bytes | None:
        """What was appended; None where no process with this secret wrote it, and then positions may be wrong, too.

        It is opened when it is asked for, since most messages are of logs that nobody here follows.
        """
        if self._sealing is not None:
            self._event = self._sealing.open(self.log, self._sealed)
            self._sealing = None
        return self._event


class NewValue(NamedTuple):
    """A value to be written with an event, for so many milliseconds; a long one may be `sealed` already."""

    name: str
    plain: bytes
    milliseconds: int
    sealed: bytes = b""


class NewEvent(NamedTuple):
    """An event to be appended, with the name of a lease where somebody begins to work on something."""

    event: bytes
    lease: str = ""


class EventLogs:
    """The logs of all subjects, by names that `Sealing.name` made."""

    def __init__(self, store: "SharedStore", sealing: "Sealing", *, lease_milliseconds: int = 1_000) -> None:
        self._store = store
        self.sealing = sealing
        self._lease_ms = lease_milliseconds
        self._followers: list[Callable[[EventMessage], None]] = []
        store.follow(_CHANNEL, self._take_message)

    @property
    def is_up(self) -> bool:
        """Whether the store answers."""
        return self._store.is_up

    @property
    def store(self) -> "SharedStore":
        """The store that the logs are in."""
        return self._store

    def follow(self, on_message: Callable[[EventMessage], None]) -> None:
        """Call back with each event that any process appends to any log."""
        self._followers.append(on_message)

    async def read(self, log: str, after: Position = BEFORE_ALL) -> LogPage:
        """The events after a position. Raises StoreAwayError and StoreRefusedError."""
        result = await self._store.run(_READ, [_log(log)], [_written(after), _MOST_EVENTS])
        first, events = _list_of(result.value, 2)
        return LogPage(_position(first), await self._events(log, events), result.server_time)

    async def read_with_value(self, log: str, name: str) -> tuple[LogPage, object]:
        """The last events of a log, and the value of a name as it was at that moment, which is still to be opened.

        Raises StoreAwayError and StoreRefusedError.
        """
        result = await self._store.run(_READ_WITH_VALUE, [_log(log), _value(name)], [_LAST_EVENTS])
        first, events, value = _list_of(result.value, 3)
        return LogPage(_position(first), (await self._events(log, events))[::-1], result.server_time), value

    async def append(
        self,
        log: str,
        event: bytes,
        *,
        after: Position | None = None,
        lease: str = "",
        value: NewValue | None = None,
    ) -> Appended | LogPage:
        """Append an event, with a lease of that name and a value; gives the newer events instead where there are any.

        Without `after` it is appended in any case. Raises StoreAwayError and StoreRefusedError.
        """
        return await self.append_all(log, [NewEvent(event, lease)], after=after, value=value)

    async def append_all(
        self, log: str, events: Sequence[NewEvent], *, after: Position | None = None, value: NewValue | None = None
    ) -> Appended | LogPage:
        """Append several events, all or none, one behind the other. Raises StoreAwayError and StoreRefusedError."""
        result = await self._store.run(_APPEND, *self._arguments(log, events, after, value))
        written, first, rest = _list_of(result.value, 3)
        if written == 1:
            return Appended(_position(rest), _position(first), result.server_time)
        return LogPage(_position(first), await self._events(log, rest), result.server_time)

    def tell(self, log: str, event: bytes, *, value: NewValue | None = None) -> None:
        """Append an event in the background, as far as the store is up."""
        self._store.tell(_APPEND, *self._arguments(log, [NewEvent(event)], None, value))

    def _arguments(
        self, log: str, events: Sequence[NewEvent], after: Position | None, value: NewValue | None
    ) -> tuple[list[str], list[bytes | str | int]]:
        sealed: list[bytes | str] = []
        for each in events:
            sealed += self.sealing.seal(log, each.event), each.lease
        keys = [_log(log), _value("" if value is None else value.name), *(_lease(each.lease) for each in events)]
        return keys, [
            "" if after is None else _written(after),
            _KEPT_MILLISECONDS,
            _MOST_EVENTS,
            _KEPT_MILLISECONDS,
            self._store.channel(_CHANNEL),
            log,
            0 if value is None else value.milliseconds,
            b"" if value is None else value.sealed or self.sealing.seal(value.name, value.plain),
            self._lease_ms,
            *sealed,
        ]

    async def values(self, names: Sequence[str]) -> Sequence[bytes | None]:
        """The values of some names; None for each that is gone, or that no process with this secret wrote there.

        Raises StoreAwayError and StoreRefusedError.
        """
        if not names:
            return []
        result = await self._store.run(_VALUES, list(map(_value, names)), [])
        sealed = list(zip(names, _list_of(result.value, len(names)), strict=True))
        if sum(len(each) for _, each in sealed if isinstance(each, bytes)) > _BYTES_AT_ONCE:
            return await asyncio.to_thread(self._opened, sealed)
        return self._opened(sealed)

    def _opened(self, sealed: Sequence[tuple[str, object]]) -> Sequence[bytes | None]:
        return [self.sealing.open(name, each) for name, each in sealed]

    async def alive(self, leases: Sequence[str]) -> Sequence[bool]:
        """Whether each of some leases lasts. Raises StoreAwayError and StoreRefusedError."""
        result: ScriptResult = await self._store.run(_VALUES, list(map(_lease, leases)), [])
        return [each is not None for each in _list_of(result.value, len(leases))]

    def renew(self, leases: Sequence[str]) -> None:
        """Let leases of this process last longer."""
        if leases:
            self._store.tell(_RENEW, list(map(_lease, leases)), [self._lease_ms, *leases])

    def end(self, lease: str) -> None:
        """End a lease of this process."""
        self._store.tell(_END, [_lease(lease)], [lease])

    async def _events(self, log: str, found: object) -> Sequence[LoggedEvent]:
        events: list[LoggedEvent] = []
        for each in _list_of(found):
            if len(events) % _OPENED_AT_ONCE == _OPENED_AT_ONCE - 1:
                await asyncio.sleep(0)
            position, fields = _list_of(each, 2)
            # Somebody else's may have more fields.
            sealed = fields[1] if isinstance(fields, list) and len(fields) == 2 else b""  # noqa: PLR2004 # name, event
            events.append(LoggedEvent(_position(position), self.sealing.open(log, sealed)))
        return events

    def _take_message(self, message: bytes) -> None:
        if len(message) > _LONGEST_MESSAGE:
            # None of ours; one that was missed shows in the next.
            return
        parts = message.split(_SEPARATOR, 3)
        try:
            log, previous, position = parts[0].decode("ascii"), _position(parts[1]), _position(parts[2])
            sealed = parts[3]
        except (ValueError, IndexError, StoreAwayError):
            # It is counted by that.
            self.sealing.open("", message)
            return
        told = EventMessage(log, previous, position, sealed, self.sealing)
        for follower in self._followers:
            follower(told)


def _log(name: str) -> str:
    return f"log:{name}"


def _lease(name: str) -> str:
    return f"lease:{name}"


def _value(name: str) -> str:
    return f"value:{name}"


def _written(position: Position) -> str:
    return f"{position[0]}-{position[1]}"


def _position(text: object) -> Position:
    if not isinstance(text, bytes):
        raise _not_a_log()
    ms, _, number = text.partition(b"-")
    try:
        return int(ms), int(number or b"0")
    except ValueError:
        raise _not_a_log() from None


def _list_of(found: object, length: int | None = None) -> list[object]:
    if not isinstance(found, list) or (length is not None and len(found) != length):
        raise _not_a_log()
    return found


def _not_a_log() -> StoreAwayError:
    return StoreAwayError(AwayReason.PROTOCOL)
