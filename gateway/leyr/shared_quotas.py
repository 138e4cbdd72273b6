"""The turns to call an EHR that several processes have in common, in the store that they share."""

import asyncio
from collections.abc import Callable, Sequence

from gateway.leyr.call_quota import QuotaRequest, SharedTurn, ToldTurn
from gateway.shared_store.errors import StoreAwayError, StoreRefusedError
from gateway.shared_store.script import Script
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore

_MICROSECONDS = 1_000_000
_PREFIX_BYTES = 8

# ARGV: microseconds of the window, longest wait in microseconds, name of the turn, how many logs it may come from; then
# for each of these its place in KEYS and how many turns a window has; then for each turn that is told its log's place,
# the microseconds since, and its name. KEYS: the logs, whose turns are scored by their times.
_TAKE = Script(
    """\
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local window, logs = tonumber(ARGV[1]), tonumber(ARGV[4])
local function add(log, at, name)
  redis.call('ZADD', log, string.format('%.0f', at), name)
  redis.call('PEXPIRE', log, string.format('%.0f', math.ceil(window / 500)))
end
for i = 5 + 2 * logs, #ARGV, 3 do
  add(KEYS[tonumber(ARGV[i])], now - tonumber(ARGV[i + 1]), ARGV[i + 2])
end
local place, wait = 0, window
for i = 5, 3 + 2 * logs, 2 do
  local log, size = tonumber(ARGV[i]), tonumber(ARGV[i + 1])
  if size > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[log], '-inf', string.format('%.0f', now - window))
    local found = redis.call('ZRANGE', KEYS[log], -size, -size, 'WITHSCORES')
    local this = found[2] and math.max(0, tonumber(found[2]) + window - now) or 0
    if place == 0 or this < wait then place, wait = log, this end
  end
end
if place == 0 or wait > tonumber(ARGV[2]) then return {0, wait} end
add(KEYS[place], now + wait, ARGV[3])
return {place, wait}
"""
)
_GIVE_BACK = Script("return redis.call('ZREM', KEYS[1], ARGV[1])")


class SharedQuotas:
    """The turns of all EHRs."""

    def __init__(self, store: SharedStore, sealing: Sealing, new_secret: Callable[[], bytes]) -> None:
        self._store = store
        self._sealing = sealing
        self._prefix = f"{new_secret()[:_PREFIX_BYTES].hex()}-"

    def of(self, emr: str) -> "SharedTurns":
        """The turns of one EHR."""
        name = self._sealing.name("quota", emr)
        return SharedTurns(self._store, (f"quota:{name}", f"quota_reserve:{name}"), self._prefix)


class SharedTurns:
    """The turns of one EHR; see SharedQuota."""

    def __init__(self, store: SharedStore, logs: tuple[str, str], prefix: str) -> None:
        self._store = store
        self._logs = logs
        self.prefix = prefix

    @property
    def is_up(self) -> bool:
        """Whether the store answers."""
        return self._store.is_up

    def on_up(self, callback: Callable[[], None]) -> None:
        """Call back when the store begins to answer."""
        self._store.on_up(callback)

    async def take(self, request: QuotaRequest, told: Sequence[ToldTurn]) -> SharedTurn | None:
        """Tell what was taken without the store, and take a turn; None where the store does not answer."""
        arguments: list[bytes | str | int] = [
            round(request.window * _MICROSECONDS),
            round(request.longest_wait * _MICROSECONDS),
            request.name,
            len(request.logs),
        ]
        for log in request.logs:
            arguments += log + 1, request.sizes[log]
        for turn in told:
            arguments += turn.log + 1, round(turn.ago * _MICROSECONDS), turn.name
        try:
            found = (await self._store.run(_TAKE, self._logs, arguments)).value
        except (StoreAwayError, StoreRefusedError):
            return None
        except asyncio.CancelledError:
            for log in request.logs:
                self.give_back(log, request.name)
            raise
        match found:
            case [int(place), int(wait)] if 0 <= place <= len(self._logs) and wait >= 0:
                return SharedTurn(place - 1 if place else None, wait / _MICROSECONDS)
        return None

    def give_back(self, log: int, name: str) -> None:
        """Let others have a turn that was not used."""
        self._store.tell(_GIVE_BACK, [self._logs[log]], [name])
