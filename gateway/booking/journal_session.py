"""This process's part in the journal in the shared store: which journal it is, that the process lives, what was lost.

Each time that the store begins to answer the journal is opened anew, under the next generation: what was sent over an
earlier connection, and comes late, is refused by the server from then on.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from gateway.booking.journal import JournalUnavailableError
from gateway.booking.journal_events import JournalEvents, JournalTrouble
from gateway.booking.journal_scripts import LEAVE, LOOK, OPEN, RENEW, RENEW_SECRET
from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.script import Script, ScriptResult
from gateway.shared_store.sealing import Sealing
from gateway.shared_store.store import SharedStore

BASE = "journal:"
_META = "meta"
_CONTEXT = "booking's journal"
_NONE_HELD = b"0"
_NEVER_EVICTS = b"noeviction"


@dataclass(frozen=True, slots=True)
class SharedJournalConfig:
    """How long what lasts, in seconds.

    A process that said nothing for `life_seconds` counts as dead; after a loss nothing new is taken for
    `held_back_seconds`; a request waits `wait_seconds` for a store that ends to answer while it is asked.
    """

    life_seconds: float = 5.0
    renew_seconds: float = 1.0
    held_back_seconds: float = 600.0
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
        with suppress(JournalUnavailableError):
            await self._until_opened(waits=True)

    async def close(self) -> None:
        """Let this process count as dead."""
        task, self._task = self._task, None
        if task is None:
            return
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with suppress(JournalUnavailableError):
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
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.renew_seconds):
                    await self._wake.wait()
            self._wake.clear()
            try:
                if self._is_open:
                    await self._renew()
                elif self._store.is_up:
                    await self._open()
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
        await self._look()
        self._generation += 1
        epoch = self.new_secret().hex()[:32]
        answer = await self._store.run(
            OPEN,
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
        current = self._secrets.digests[0].hex()
        if secret != current:
            sealed = self.seal(_META, names)
            self._read(await self._store.run(RENEW_SECRET, [BASE], [*self._common(), current, sealed]))
        self._is_open = True
        if self._opening is not None and not self._opening.done():
            self._opening.set_result(None)
        self._last = None
        self._events.opened()

    async def _look(self) -> None:
        """See whether the store keeps what it is told. Raises JournalUnavailableError where it may forget some."""
        match (await self._store.run(LOOK, [BASE], [])).value:
            case [bytes() as memory, bytes() as policy, bytes() as disk] if policy:
                if policy != _NEVER_EVICTS and memory != _NONE_HELD:
                    self._say(JournalTrouble.EVICTS)
                    raise JournalUnavailableError("the shared store may evict keys: its maxmemory-policy is another")
                if disk == _NONE_HELD:
                    self._say(JournalTrouble.NOT_ON_DISK)
            case _:
                self._say(JournalTrouble.NOT_TOLD)

    def _say(self, what: JournalTrouble) -> None:
        """Tell of something; what is tried again and again is told once."""
        if what is not self._last:
            self._last = what
            self._events.trouble(what)


def milliseconds(at: datetime) -> int:
    """A time of day as the scripts compare it."""
    return round(at.timestamp() * 1_000)


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
