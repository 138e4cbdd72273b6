"""This process's part in the journal in the shared store: which journal it is, that the process lives, what was lost.

Each time that the store begins to answer the journal is opened anew, under the next generation: what was sent over an
earlier connection, and comes late, is refused by the server from then on.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.booking.journal import JournalUnavailableError
from gateway.booking.journal_events import JournalEvents, JournalTrouble
from gateway.booking.journal_scripts import LEAVE, RENEW, RENEW_SECRET
from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.script import Script, ScriptResult
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore

BASE = "journal:"
_META = "meta"
_CONTEXT = "booking's journal"
_NONE_HELD = b"0"
_NEVER_EVICTS = b"noeviction"

# Tells how the server keeps what it is told, as far as the user may ask, and which run of it this is.
_LOOK = Script(
    """\
local about = ''
for _, each in ipairs({'server', 'memory', 'persistence'}) do
  local told = redis.pcall('INFO', each)
  if type(told) ~= 'string' then return {'', '', '', ''} end
  about = about .. told
end
return {string.match(about, 'maxmemory:(%d+)') or '', string.match(about, 'maxmemory_policy:([%w-]+)') or '',
  string.match(about, 'aof_enabled:(%d)') or '', string.match(about, 'run_id:(%x+)') or ''}
""",
    only_reads=True,
)

# ARGV: the journal that the process knows or "", the process, its generation, the time, the accepted secrets, the
# number of its writes, name of a new journal, the current secret, what a new journal keeps, sealed, ms for which
# nothing new is taken after the store was emptied, ms that a life lasts, ms that the process is remembered, the run of
# the server, ms for which nothing new is taken after it has lost some or may have.
_OPEN = Script(
    """\
local base, owner, now = KEYS[1], ARGV[2], tonumber(ARGV[4])
local meta, own, status = base .. 'meta', base .. 'process:' .. ARGV[2], 'opened'
local found = redis.call('HMGET', meta, 'epoch', 'secret', 'kept', 'before', 'last', 'run', 'until')
local is_accepted = found[2] and string.find(ARGV[5], found[2], 1, true)
if found[1] and not is_accepted and (tonumber(found[5]) or 0) >= now then return {'secret'} end
local function hold_back(ms)
  redis.call('HSET', meta, 'until', string.format('%.0f', math.max(tonumber(found[7]) or 0, now + tonumber(ms))))
end
local function note_loss(what, ms)
  status = what
  hold_back(ms)
  redis.call('HSET', meta, 'lost', ARGV[4])
end
if not found[1] or not is_accepted then
  status = 'begun'
  redis.call('HSET', meta, 'epoch', ARGV[7], 'secret', ARGV[8], 'kept', ARGV[9], 'before', ARGV[1])
  if not found[1] and ARGV[1] ~= '' then note_loss('emptied', ARGV[10]) end
elseif ARGV[1] ~= '' and ARGV[1] ~= found[1] then
  -- Another process began it anew. One that did so without knowing of an earlier one does not know that it was lost.
  status = 'emptied'
  if found[4] ~= ARGV[1] then
    redis.call('HSET', meta, 'before', ARGV[1])
    note_loss('emptied', ARGV[10])
  end
elseif tonumber(ARGV[6]) > (tonumber(redis.call('HGET', own, 'n')) or 0) then
  note_loss('went back', ARGV[14])
elseif found[6] and found[6] ~= '' and ARGV[13] ~= '' and found[6] ~= ARGV[13] then
  hold_back(ARGV[14])
end
redis.call('HSET', meta, 'run', ARGV[13])
redis.call('HSET', own, 'g', ARGV[3], 'n', math.max(tonumber(ARGV[6]), tonumber(redis.call('HGET', own, 'n')) or 0))
redis.call('PEXPIRE', own, ARGV[12])
redis.call('SET', base .. 'alive:' .. owner, '1', 'PX', ARGV[11])
local kept = redis.call('HMGET', meta, 'epoch', 'secret', 'kept')
return {status, kept[1], kept[2], kept[3]}
"""
)


@dataclass(frozen=True, slots=True)
class SharedJournalConfig:
    """How long what lasts, in seconds.

    A process that said nothing for `life_seconds` counts as dead. After the store was emptied nothing new is taken for
    `held_back_seconds`, and after it was started again for `settling_seconds`, within which processes write again what
    it may have lost. A request waits `wait_seconds` for a store that ends to answer while it is asked.
    """

    life_seconds: float = 5.0
    renew_seconds: float = 1.0
    held_back_seconds: float = 600.0
    settling_seconds: float = 8.0
    wait_seconds: float = 2.0
    remembered: timedelta = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class JournalSecrets:
    """The secrets that seal entries, first the one of now, with a digest of each by which processes compare them.

    `names` is what the names of callers are made with, until the journal says which it was first.
    """

    sealing: Sequence[bytes]
    digests: Sequence[bytes]
    names: bytes


class JournalSession:
    """Opens the journal whenever the store answers, and says that this process lives."""

    def __init__(
        self,
        store: SharedStore,
        secrets: JournalSecrets,
        events: JournalEvents,
        *,
        now: Callable[[], datetime],
        new_secret: Callable[[], bytes],
        config: SharedJournalConfig | None = None,
    ) -> None:
        self._store, self._secrets, self._events = store, secrets, events
        self.now, self.new_secret, self._config = now, new_secret, config or SharedJournalConfig()
        self._sealings = [Sealing(each, (_CONTEXT,), new_secret) for each in secrets.sealing]
        self._accepted = ",".join(each.hex() for each in secrets.digests)
        self._generation = self._writes = 0
        self._epoch = ""
        self._why = "the shared store does not answer"
        self._is_open, self._wake = False, asyncio.Event()
        self._opening: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self._owes = False
        self.write_again: Callable[[], Awaitable[None]] = _nothing
        """Called when something was lost, to write again what this process wrote. Raises JournalUnavailableError."""
        self._last: JournalTrouble | None = None
        self.owner = ""
        self.names = secrets.names
        self.tags = self._named_by(secrets.names)
        """What makes the names of care units and appointments, which stay over a rotation of secrets."""
        store.on_up(self._wake.set)
        store.on_away(self._on_away)

    @property
    def life_ms(self) -> int:
        """After how many milliseconds without a word a process counts as dead."""
        return _ms(self._config.life_seconds)

    async def start(self, owner: str) -> None:
        """Begin, and wait a little for the store; without it, it goes on in the background."""
        self.owner = owner
        self._task = asyncio.get_running_loop().create_task(self._stay_open())
        self._wake.set()
        with suppress(JournalUnavailableError):  # each request says so, and it is tried again and again
            await self._until_opened(waits=True)

    async def close(self) -> None:
        """Let this process count as dead."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with suppress(JournalUnavailableError):  # its life ends by itself in the store
            await self.run(LEAVE)
        self._is_open = False
        self._why = "the journal is closed"

    async def run(self, script: Script, *arguments: bytes | str | int) -> tuple[Any, int]:
        """What a script gives, and the server's time in microseconds. Raises JournalUnavailableError.

        Where the store ends to answer meanwhile, it is asked once more when it is back, if that is soon.
        """
        for is_last in (False, True):
            if not self._is_open:
                await self._until_opened()
            try:
                result = await self._store.run(script, [BASE], [*self._common(), *arguments])
            except StoreAwayError as error:
                if is_last or error.reason is AwayReason.FULL:
                    raise JournalUnavailableError(f"the shared store does not answer: {error}") from None
                await self._until_opened(waits=True)
            except StoreRefusedError as error:
                self._say(JournalTrouble.REFUSED)
                raise JournalUnavailableError(f"the shared store refuses: {error.kind}") from None
            else:
                return self._read(result), result.server_time
        raise JournalUnavailableError(self._why)

    def seal(self, name: str, plain: bytes) -> bytes:
        """A value, sealed under the secret of now."""
        return self._sealings[0].seal(name, plain)

    def open(self, name: str, sealed: object) -> bytes | None:
        """What was sealed under one of the accepted secrets; None for everything else."""
        for sealing in self._sealings:
            plain = sealing.open(name, sealed)
            if plain is not None:
                return plain
        return None

    def _named_by(self, names: bytes) -> Sealing:
        return Sealing(names, (_CONTEXT, "tags"), self.new_secret)

    def _common(self) -> list[bytes | str | int]:
        return [self._epoch, self.owner, self._generation, milliseconds(self.now()), self._accepted]

    def _read(self, result: ScriptResult) -> Any:
        """A script's own result. Raises JournalUnavailableError where the journal is not what this process opened."""
        match result.value:
            case [b"ok", int() as writes, value]:
                self._writes = max(self._writes, writes)
                return value
            case [b"lost"]:
                self._why = "something of the journal was lost, so that nothing new is taken for a while"
            case [b"another" | b"stale" | b"secret"]:
                self._is_open = False
                self._wake.set()
                self._why = "the journal has to be opened anew"
            case _:
                self._why = "what came is no answer of the journal"
        raise JournalUnavailableError(self._why)

    async def _until_opened(self, *, waits: bool = False) -> None:
        """Wait until the journal is open, where that may be soon. Raises JournalUnavailableError."""
        if self._task is None or (not waits and not self._store.is_up):
            raise JournalUnavailableError(self._why)
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_future()
        # Not by cancelling the current task, which may be that of a whole operation.
        await asyncio.wait({self._opening}, timeout=self._config.wait_seconds)
        if not self._is_open:
            raise JournalUnavailableError(self._why)

    def _on_away(self) -> None:
        self._is_open = False

    async def _stay_open(self) -> None:
        while True:
            with suppress(TimeoutError):  # nothing happened, so the life is to be renewed
                async with asyncio.timeout(self._config.renew_seconds):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self._is_open:
                    await self._renew()
                elif self._store.is_up:
                    await self._open()
                if self._owes and self._is_open:
                    await self.write_again()
                    self._owes = False
            except JournalUnavailableError as error:
                self._why = str(error)
            except StoreAwayError:
                self._why = "the shared store does not answer"
            except StoreRefusedError as error:
                self._why = f"the shared store refuses: {error.kind}"
                self._say(JournalTrouble.REFUSED)

    async def _renew(self) -> None:
        life, remembered = self.life_ms, _ms(self._config.remembered.total_seconds())
        self._read(await self._store.run(RENEW, [BASE], [*self._common(), life, remembered]))

    async def _open(self) -> None:
        """Raises StoreAwayError, StoreRefusedError and JournalUnavailableError."""
        run = await self._look()
        self._generation += 1
        epoch = self.new_secret().hex()[:32]
        answer = await self._store.run(
            _OPEN,
            [BASE],
            [
                *self._common(),
                self._writes,
                epoch,
                self._secrets.digests[0].hex(),
                self.seal(_META, self.names),
                _ms(self._config.held_back_seconds),
                self.life_ms,
                _ms(self._config.remembered.total_seconds()),
                run,
                _ms(self._config.settling_seconds),
            ],
        )
        match answer.value:
            case [bytes() as status, bytes() as found, bytes() as secret, bytes() as kept]:
                words = [each.decode("ascii", "replace") for each in (status, found, secret)]
                await self._take(words[0], words[1], words[2], kept)
            case _:
                self._say(JournalTrouble.OTHER_SECRET)
                raise JournalUnavailableError("its keys are kept under another secret, which has to be the former one")

    async def _take(self, status: str, epoch: str, secret: str, kept: bytes) -> None:
        """Take note of which journal it is."""
        names = self.open(_META, kept)
        if names is None:
            self._say(JournalTrouble.OTHER_SECRET)
            raise JournalUnavailableError("what the journal keeps was not written by a process with this secret")
        self.names, self.tags, self._epoch = names, self._named_by(names), epoch
        if status in {JournalTrouble.EMPTIED, JournalTrouble.WENT_BACK}:
            self._say(JournalTrouble(status))
            self._owes = True
        current = self._secrets.digests[0].hex()
        if secret != current:
            sealed = self.seal(_META, names)
            self._read(await self._store.run(RENEW_SECRET, [BASE], [*self._common(), current, sealed]))
        self._is_open = True
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(None)
        self._last = None
        self._events.opened()

    async def _look(self) -> bytes:
        """See whether the store keeps what it is told; gives which run of it this is, as far as it tells.

        Raises JournalUnavailableError where it may forget some.
        """
        match (await self._store.run(_LOOK, [BASE], [])).value:
            case [bytes() as memory, bytes() as policy, bytes() as disk, bytes() as run] if policy:
                if policy != _NEVER_EVICTS and memory != _NONE_HELD:
                    self._say(JournalTrouble.EVICTS)
                    raise JournalUnavailableError("the shared store may evict keys: its maxmemory-policy is another")
                if disk == _NONE_HELD:
                    self._say(JournalTrouble.NOT_ON_DISK)
                return run
            case _:
                self._say(JournalTrouble.NOT_TOLD)
                return b""

    def _say(self, what: JournalTrouble) -> None:
        """Tell of something; what is tried again and again is told once."""
        if what is not self._last:
            self._last = what
            self._events.trouble(what)


def milliseconds(at: datetime) -> int:
    """A time of day as the scripts compare it."""
    return round(at.timestamp() * 1_000)


async def _nothing() -> None:
    """What is written again where nothing was written."""


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
