"""The law of journals: whatever processes do with one in a file and one in the store, both answer alike."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.booking.journal import Hold, Journal, JournalEntry, JournalState
from gateway.domain.appointments import Appointment, TimeRange
from gateway.domain.booking import Booked, Cancelled, Wish
from gateway.domain.models import CareUnitKey
from tests.stores import Store
from tests.unit.booking.entries import HOUR, NOW, SLOT, UNIT, entry
from tests.unit.booking.journals import InAFile, InAStore, Place, Time

UNITS = UNIT, CareUnitKey("webdoc", "L0_2")
KEYS = b"k0", b"k1", b"k2"
Do = Callable[[Journal], Awaitable[Any]]

keys, units, resources = st.sampled_from(KEYS), st.sampled_from(UNITS), st.sampled_from([None, "r1", "r2"])
hours = st.integers(0, 3)


@st.composite
def entries(draw: st.DrawFn) -> JournalEntry:
    slot = replace(SLOT, care_unit=draw(units), start=NOW + draw(hours) * HOUR)
    wish = Wish(replace(slot, end=slot.start + draw(st.integers(1, 3)) * HOUR), draw(resources), None)
    made = entry(draw(keys), draw(st.sampled_from([b"input", b"other"])))
    expires_at = NOW + draw(st.integers(1, 4)) * HOUR
    state = draw(st.sampled_from(JournalState))
    appointment = Appointment(draw(units), draw(st.sampled_from(["a1", "a2"])), draw(st.sampled_from("bc")), "2026")
    outcome = draw(st.sampled_from([Booked, Cancelled]))(appointment) if state is JournalState.DONE else None
    is_sent = state is not JournalState.CLAIMED
    return replace(
        made,
        state=state,
        wish=wish if is_sent else None,
        sent_at=NOW + timedelta(days=3) if is_sent else None,
        outcome=outcome,
        expires_at=expires_at,
    )


@st.composite
def held(draw: st.DrawFn) -> Hold:
    start = NOW + draw(hours) * HOUR
    when = draw(st.none() | st.just(TimeRange(start, start + draw(st.integers(1, 3)) * HOUR)))
    # A call does not leave in the store whose hold is over, which a file leaves to whoever sends it.
    return Hold(draw(keys), draw(units), NOW + 100 * HOUR, draw(resources), when, draw(st.none() | st.just("a1")))


def works_on(key: bytes) -> int:
    """Of two processes the one that works on a key; the other only claims it, or takes it over."""
    return KEYS.index(key) % 2


def written(each: JournalEntry) -> tuple[int, Do]:
    async def do(journal: Journal) -> object:
        # The store lets who sent a call say what became of it, also where the entry was lost or others have it.
        kept = await journal.find(each.key)
        is_its_own = kept is not None and (each.state is not JournalState.DONE or kept.owner == journal.owner)
        return await journal.write(each) if is_its_own else None

    return works_on(each.key), do


def claimed(key: bytes) -> tuple[int, Do]:
    return works_on(key), lambda journal: journal.claim(entry(key))


steps = st.one_of(
    entries().flatmap(lambda each: st.tuples(st.integers(0, 1), st.just(lambda journal: journal.claim(each)))),
    entries().map(written),
    entries().map(written),
    entries().flatmap(lambda each: st.tuples(st.integers(0, 1), st.just(lambda journal: journal.take_over(each)))),
    keys.flatmap(lambda key: st.tuples(st.integers(0, 1), st.just(lambda journal: journal.find(key)))),
    keys.map(lambda key: (works_on(key), lambda journal: journal.release(key))),
    held().map(lambda each: (works_on(each.key), lambda journal: journal.hold(each))),
    keys.map(lambda key: (works_on(key), lambda journal: journal.let_go(key))),
    held().map(lambda each: (0, lambda journal: journal.unsettled(each))),
    held().map(lambda each: (1, lambda journal: journal.was_asked(each))),
    units.map(lambda unit: (0, lambda journal: journal.known(unit, ["a1", "a2"]))),
    keys.map(lambda key: (1, lambda journal: journal.count_attempt(key, NOW + 2 * HOUR))),
    keys.map(lambda key: (0, lambda journal: journal.attempts(key))),
    st.just((2, None)),
)


async def played(place: Place, script: list[tuple[int, Do | None]]) -> list[object]:
    """What two processes are answered; a step of neither lets an hour pass."""
    time, said = Time(), []
    async with AsyncExitStack() as stack:
        processes = [await stack.enter_async_context(place.process(time)) for _ in range(2)]
        names = {journal.owner: f"p{number}" for number, journal in enumerate(processes)}
        for number, do in script:
            if do is None:
                time.now += HOUR
            else:
                said.append(plain(await do(processes[number]), names))
    return said


def plain(answer: object, names: dict[str, str]) -> object:
    """An answer without what differs from process to process, and without an order that nobody relies on."""
    match answer:
        case JournalEntry():
            return replace(answer, owner=names.get(answer.owner, answer.owner))
        case list() | tuple():
            return sorted((plain(each, names) for each in answer), key=str)
        case _:
            return answer


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.lists(steps, min_size=30, max_size=60))
def test_in_a_file_and_in_the_store_processes_are_answered_alike(
    server: Store, script: list[tuple[int, Do | None]]
) -> None:
    script = [*map(claimed, KEYS), *script]
    with TemporaryDirectory() as folder:
        in_a_file = asyncio.run(played(InAFile(Path(folder)), script))
    in_the_store = asyncio.run(played(InAStore(server.socket, f"{uuid4().hex}:"), script))

    assert in_the_store == in_a_file
