"""Bookings at most once for each idempotency key: the shell around what `key_decision` decides and an `Attempt` does.

A request's work is a task of its own, which goes on when the client leaves. It writes how far it is into the journal
before each step, so that whoever asks with the same key later, in any process, gets the one outcome.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from gateway.booking.attempt import Attempt, NotSentError
from gateway.booking.dependencies import BookingDependencies
from gateway.booking.journal import JournalEntry, JournalState, JournalUnavailableError
from gateway.booking.journal_writer import write_until_written, writes_of, written
from gateway.booking.key_decision import KeyAction, Worker, decide
from gateway.booking.lookups import Lookups
from gateway.booking.outcomes import KEPT_AFTER_START, in_progress, in_vain, is_keyless, later, not_sent
from gateway.booking.requests import (
    BookingRequest,
    BookRequest,
    CancelRequest,
    ConfirmRequest,
    RescheduleRequest,
    canonical,
    leyr_id_of,
    wishes_of,
)
from gateway.domain.appointments import Appointment
from gateway.domain.booking import BookingFailureReason, BookingResult, BookingStep, Outcome, Refused, Unknown
from gateway.domain.errors import Origin, UpstreamUnavailable
from gateway.domain.models import CareUnitKey

_SHORTEST_POLL_SECONDS = 0.05
_LONGEST_POLL_SECONDS = 1.0
_ASK_AGAIN_SECONDS = 5.0
_LEAST_KEPT = timedelta(hours=24)
# When those are looked up that were not found at once, after nothing of their calls can land any more.
_SECONDS_BETWEEN_LOOKUPS = (0.0, 15.0, 45.0)


class _Identity(NamedTuple):
    """The digests of a caller's key and of its input, under one secret; no input where only the outcome is asked."""

    key: bytes
    input: bytes | None


@dataclass(slots=True, eq=False)
class _Running:
    """What this process does under a key; the answer is None where the journal has to be asked again."""

    input: bytes | None
    answer: "asyncio.Future[Outcome | None]"


@dataclass(slots=True)
class _Deadline:
    """How long a request waits, and how it asks a journal that says nothing by itself."""

    until: float
    poll: float = field(default=_SHORTEST_POLL_SECONDS)

    @property
    def left(self) -> float:
        return self.until - asyncio.get_running_loop().time()

    async def wait(self) -> None:
        await asyncio.sleep(min(self.poll, max(self.left, 0.0)))
        self.poll = min(2 * self.poll, _LONGEST_POLL_SECONDS)


class Bookings:
    """Books, confirms, cancels and moves appointments, each at most once for a key of a caller."""

    def __init__(self, dependencies: BookingDependencies) -> None:
        self._needs = dependencies
        self._running: dict[bytes, _Running] = {}
        self._settling: dict[bytes, asyncio.Event] = {}
        self._lookups = Lookups(dependencies, self._on_settled)
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_stopping = False

    async def book(self, caller: str, key: str, request: BookRequest) -> BookingResult:
        """Book the first timeslot that is free. Raises BadUserInput where one lies beyond the calendar."""
        return await self._do(caller, key, request)

    async def confirm(self, caller: str, key: str, request: ConfirmRequest) -> BookingResult:
        """Confirm a booking or a cancellation by its code."""
        return await self._do(caller, key, request)

    async def cancel(self, caller: str, key: str, request: CancelRequest) -> BookingResult:
        """Cancel an appointment."""
        return await self._do(caller, key, request)

    async def reschedule(self, caller: str, key: str, request: RescheduleRequest) -> BookingResult:
        """Move an appointment. Raises BadUserInput where its new time lies beyond the calendar."""
        return await self._do(caller, key, request)

    async def outcome(self, caller: str, key: str) -> BookingResult | None:
        """What a booking with a key came to, looked up where that is not known; None where there was none.

        It never books. Raises UpstreamUnavailable where the journal cannot be read.
        """
        identities = [_Identity(each, None) for each in self._keys(caller, BookingStep.BOOK, key)]
        try:
            return await self._result(identities, None)
        except JournalUnavailableError:
            raise _unreadable() from None

    async def knows(self, caller: str, step: BookingStep, key: str) -> bool:
        """Whether something was asked with a key before, as far as the journal can be read."""
        keys = self._keys(caller, step, key)
        try:
            return keys[0] in self._running or await self._find(keys) is not None
        except JournalUnavailableError:
            return False

    async def appointment(self, care_unit: CareUnitKey, leyr_id: str) -> Appointment | None:
        """An appointment as the EHR lists it now; None where it lists none. Raises domain errors."""
        try:
            return await self._lookups.read(care_unit, leyr_id)
        except JournalUnavailableError:
            raise _unreadable() from None

    async def close(self) -> None:
        """Take no more requests, and wait for what is under way, within the time for that."""
        self._is_stopping = True
        for event in self._settling.values():
            event.set()
        if self._tasks:
            _, pending = await asyncio.wait(set(self._tasks), timeout=self._needs.config.stop_seconds)
            for task in pending:
                task.cancel()
            await asyncio.gather(*pending, return_exceptions=True)
        await self._lookups.close()

    async def _do(self, caller: str, key: str, request: BookingRequest) -> BookingResult:
        inputs = self._needs.digests.digests("input", *canonical(request))
        keys = self._keys(caller, request.step, key)
        identities = list(map(_Identity, keys, inputs))
        try:
            found = await self._result(identities, (caller, request))
        except JournalUnavailableError:
            return BookingResult(not_sent())
        return found or BookingResult(not_sent())

    def _keys(self, caller: str, step: BookingStep, key: str) -> Sequence[bytes]:
        return self._needs.digests.digests("key", caller, step, key)

    async def _result(
        self, identities: Sequence[_Identity], asked: tuple[str, BookingRequest] | None
    ) -> BookingResult | None:
        """Do for a key what the table says, until there is an outcome, or the request's time is over."""
        deadline = _Deadline(asyncio.get_running_loop().time() + self._needs.config.wait_seconds)
        own: _Running | None = None
        while True:
            running = self._running.get(identities[0].key)
            if running is None:
                entry = await self._find([each.key for each in identities])
                worker = await self._worker(entry)
                running = self._running.get(identities[0].key)
            if running is None:
                identity = _identity_of(entry, identities)
                action = decide(entry, identity.input, worker)
                if action in {KeyAction.BEGIN, KeyAction.TAKE_OVER}:
                    refusal = self._refusal(action, asked)
                    if refusal is not None or asked is None:
                        return None if refusal is None else BookingResult(refusal)
                    running = own = self._begin(identities[0], identity, *asked)
                else:
                    result = await self._without_working(action, entry, asked, deadline)
                    if result is not None:
                        return result
                    continue
            if None not in (identities[0].input, running.input) and identities[0].input != running.input:
                return BookingResult(Refused(BookingFailureReason.KEY_MISMATCH))
            outcome = await _awaited(running.answer, deadline)
            if outcome is None and deadline.left <= 0:
                return BookingResult(in_progress())
            if outcome is not None:
                return BookingResult(outcome, replayed=running is not own and not is_keyless(outcome))

    async def _without_working(
        self,
        action: KeyAction,
        entry: JournalEntry | None,
        asked: tuple[str, BookingRequest] | None,
        deadline: _Deadline,
    ) -> BookingResult | None:
        """The result of a key that this process does not work on; None where the journal has to be asked again."""
        if action is KeyAction.MISMATCH:
            return BookingResult(Refused(BookingFailureReason.KEY_MISMATCH))
        if action is KeyAction.REPLAY and entry is not None and entry.outcome is not None:
            return BookingResult(entry.outcome, replayed=True)
        if action is KeyAction.LOOK_UP and entry is not None:
            patient_id = None if asked is None else leyr_id_of(asked[1])
            try:
                outcome = await self._lookups.resolve(entry, patient_id, max(deadline.left, 0.0))
            except (TimeoutError, JournalUnavailableError):
                # It was sent, so that nobody may be told that it was not.
                outcome = Unknown(self._needs.now() + timedelta(seconds=_ASK_AGAIN_SECONDS))
            if outcome is not None:
                return BookingResult(outcome, replayed=True)
        if deadline.left <= 0:
            return BookingResult(in_progress())
        await deadline.wait()
        return None

    async def _find(self, keys: Sequence[bytes]) -> JournalEntry | None:
        for each in keys:
            entry = await self._needs.journal.find(each)
            if entry is not None:
                return entry
        return None

    async def _worker(self, entry: JournalEntry | None) -> Worker:
        """Who works on an entry that is not among those that run here."""
        journal = self._needs.journal
        # What this process left behind, since the journal could not be written, nobody works on.
        if entry is None or entry.owner == journal.owner or not await journal.is_alive(entry.owner):
            return Worker.NOBODY
        return Worker.OTHER_PROCESS

    def _refusal(self, action: KeyAction, asked: tuple[str, BookingRequest] | None) -> Refused | None:
        """Why nothing is begun: it is known that it would be in vain. Raises BadUserInput."""
        if asked is None:
            return None if action is KeyAction.BEGIN else not_sent()
        if self._is_stopping or len(self._tasks) >= self._needs.config.most_at_once:
            return not_sent(1.0)
        if action is KeyAction.TAKE_OVER:
            return None
        request = asked[1]
        return in_vain(request, self._needs.capabilities(request.care_unit), self._needs.now())

    def _begin(self, current: _Identity, identity: _Identity, caller: str, request: BookingRequest) -> _Running:
        """Begin the work of a request; whoever comes with the same key waits for the same answer."""
        loop = asyncio.get_running_loop()
        running = self._running[current.key] = _Running(current.input, loop.create_future())
        entry = JournalEntry(
            key=identity.key,
            step=request.step,
            caller=caller,
            input=identity.input or b"",
            state=JournalState.CLAIMED,
            owner=self._needs.journal.owner,
            expires_at=self._expires_at(request),
            care_unit=request.care_unit,
        )
        task = loop.create_task(self._work(running, current.key, entry, request))
        self._tasks.add(task)
        task.add_done_callback(partial(self._on_done, running, current.key))
        return running

    def _on_done(self, running: _Running, key: bytes, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._leave(running, key)
        if running.answer.done():
            return
        error = None if task.cancelled() else task.exception()
        if error is None:
            # It was cancelled, as the process stops; what it sent is found by others.
            running.answer.set_result(in_progress())
        else:
            running.answer.set_exception(error)
            # Marks it as retrieved: nobody may wait any more.
            running.answer.exception()

    def _leave(self, running: _Running, key: bytes) -> None:
        if self._running.get(key) is running:
            del self._running[key]

    async def _work(self, running: _Running, key: bytes, entry: JournalEntry, request: BookingRequest) -> None:
        """Claim a key, do what is asked, answer, and keep what came of it."""
        attempt = Attempt(self._needs, self._lookups, entry)
        try:
            outcome = await attempt.run(request) if await self._claim(entry) else None
            if outcome is None and attempt.lost is None:
                self._leave(running, key)
                running.answer.set_result(None)
                return
        except NotSentError as error:
            outcome = not_sent(error.retry_after)
        except JournalUnavailableError:
            outcome = not_sent()
        # Nobody hears what came of it before the other processes show the time no more.
        await self._needs.free_times.tell_others()
        unwritten = await written(writes_of(self._needs.journal, attempt, outcome))
        if unwritten and attempt.entry.state is JournalState.CLAIMED:
            outcome = not_sent()  # since after a crash the same would be tried anew
        if outcome is None:
            outcome = await self._looked_up(attempt)
        running.answer.set_result(outcome)
        await write_until_written(unwritten, lambda: self._is_stopping)
        self._leave(running, key)
        # What is still to be settled needs nothing of the patient but Leyr's id, and may take a minute.
        del request
        if isinstance(outcome, Unknown):
            await self._settle(attempt)
        await attempt.end()

    async def _claim(self, entry: JournalEntry) -> bool:
        """Make a key this process's own; False where the journal says something else of it by now."""
        journal = self._needs.journal
        kept = await journal.claim(entry)
        if kept is None:
            return True
        if kept.state is not JournalState.CLAIMED or kept.input != entry.input:
            return False
        if kept.owner != journal.owner and await journal.is_alive(kept.owner):
            return False
        taken = await journal.take_over(kept)
        return taken is not None and taken.state is JournalState.CLAIMED

    async def _looked_up(self, attempt: Attempt) -> Outcome:
        """What became of a call that was lost, as far as that shows at once."""
        entry, needs = attempt.entry, self._needs
        landed_at = (entry.sent_at or needs.now()) + needs.config.landing
        await attempt.hold_until(landed_at + needs.config.landing)
        try:
            outcome = await self._lookups.resolve(entry, attempt.patient_id)
        except JournalUnavailableError:
            outcome = None
        if outcome is None or isinstance(outcome, Unknown):
            reference = None if attempt.lost is None else attempt.lost.reference
            return Unknown(landed_at if outcome is None else outcome.ask_again_after, reference)
        return outcome

    async def _settle(self, attempt: Attempt) -> None:
        """Keep others from the time until nothing of a call can land any more, and look up what became of it."""
        entry, needs, settled = attempt.entry, self._needs, asyncio.Event()
        self._settling[entry.key] = settled
        try:
            landed_at = (entry.sent_at or needs.now()) + needs.config.landing
            await self._sleep(settled, (landed_at - needs.now()).total_seconds())
            for seconds in _SECONDS_BETWEEN_LOOKUPS:
                await self._sleep(settled, seconds)
                if settled.is_set() or self._is_stopping or not needs.lists_appointments(entry.care_unit):
                    return
                if await self._is_settled(attempt):
                    return
                # Who waits for the time has waited long enough: nothing lands any more.
                await attempt.end()
        finally:
            del self._settling[entry.key]

    async def _is_settled(self, attempt: Attempt) -> bool:
        try:
            return not isinstance(await self._lookups.resolve(attempt.entry, attempt.patient_id), Unknown)
        except JournalUnavailableError:
            return False

    async def _sleep(self, settled: asyncio.Event, seconds: float) -> None:
        if seconds > 0 and not self._is_stopping:
            try:
                async with asyncio.timeout(seconds):
                    await settled.wait()
            except TimeoutError:
                return

    def _on_settled(self, key: bytes) -> None:
        if key in self._settling:
            self._settling[key].set()

    def _expires_at(self, request: BookingRequest) -> datetime:
        starts = [later(wish.timeslot.start, KEPT_AFTER_START) for wish in wishes_of(request)]
        return max([self._needs.now() + _LEAST_KEPT, *starts])


async def _awaited(answer: "asyncio.Future[Outcome | None]", deadline: _Deadline) -> Outcome | None:
    """The answer, or IN_PROGRESS when the request's time is over; None where the journal has to be asked again."""
    await asyncio.wait({answer}, timeout=max(deadline.left, 0.0))
    return answer.result() if answer.done() else in_progress()


def _identity_of(entry: JournalEntry | None, identities: Sequence[_Identity]) -> _Identity:
    """The digests by the secret under which an entry is kept."""
    return identities[0] if entry is None else next(each for each in identities if each.key == entry.key)


def _unreadable() -> UpstreamUnavailable:
    return UpstreamUnavailable("The journal of bookings cannot be read now", origin=Origin.GATEWAY, retryable=True)
