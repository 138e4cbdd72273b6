"""A law of pipelines: whatever is asked, cancelled and answered in whatever order, nobody gets another's answer."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
import uvloop
from hypothesis import given
from hypothesis import strategies as st

from gateway.shared_store.address import Command, ReplyReceiver, StoreAddress, StoreConnection
from gateway.shared_store.errors import AwayReason, StoreAwayError, StoreRefusedError
from gateway.shared_store.pipeline import Pipeline, PipelineEvents, StoreConfig
from gateway.shared_store.script import Script, ScriptResult
from tests.stores import ECHO, Heard, store_at, until


@dataclass
class Wire:
    """A connection whose commands a test answers as it likes."""

    commands: list[Command] = field(default_factory=list)
    packed: dict[bytes, Command] = field(default_factory=dict)
    received: int = 0
    unsent: int = 0
    is_closed: bool = False
    receiver: ReplyReceiver | None = None

    def start(self, receiver: ReplyReceiver) -> None:
        self.receiver = receiver

    def pack(self, command: Command) -> bytes:
        packed = repr(command).encode()
        self.packed[packed] = command
        return packed

    def send(self, packed: Sequence[bytes]) -> None:
        self.commands.extend(self.packed[each] for each in packed)

    def close(self) -> None:
        self.is_closed = True

    async def wait_closed(self) -> None:
        return None

    def answer(self, command: Command, *, is_good: bool = True) -> None:
        """As the server does: the echo, its time, whether it is well, and the first argument."""
        assert self.receiver is not None
        value: object = command[-2] if is_good else b"OOM no room"
        self.receiver.reply_received([command[-1], b"1700000000", b"5", 1 if is_good else 0, value])


USUAL = ("run", "run", "run", "tell", "cancel", "turn", "turn", "answer", "answer", "answer")
UNUSUAL = ("no script", "refused", "refused in script", "swapped", "twice", "other reply", "lost")
STEPS = st.lists(
    st.tuples(st.sampled_from((*USUAL, *USUAL, *UNUSUAL)), st.integers(0, 50)), min_size=10, max_size=60
).map(lambda steps: [("run", 0), ("run", 0), ("run", 0), ("turn", 0), ("turn", 0), *steps])


def play(what: str, number: int, wire: Wire, answers: dict[int, "asyncio.Future[ScriptResult]"]) -> None:
    """What comes over the wire, or is cancelled."""
    assert wire.receiver is not None
    if what == "cancel" and answers:
        list(answers.values())[number % len(answers)].cancel()
    elif what == "lost":
        wire.receiver.connection_lost(AwayReason.UNREACHABLE)
    elif what == "other reply":
        wire.receiver.reply_received([b"echo", b"1", b"2", 1, b"3"])
    elif not wire.commands or wire.is_closed:
        return
    elif what == "swapped" and len(wire.commands) > 1:
        wire.answer(wire.commands[1])
    elif what == "twice":
        command = wire.commands.pop(0)
        wire.answer(command)
        wire.answer(command)
    elif what == "no script":
        command = wire.commands.pop(0)
        wire.receiver.reply_received(StoreRefusedError("NOSCRIPT"))
    elif what == "refused":
        wire.commands.pop(0)
        wire.receiver.reply_received(StoreRefusedError("OOM"))
    elif what in {"answer", "refused in script"}:
        wire.answer(wire.commands.pop(0), is_good=what == "answer")


def test_calls_that_are_due_in_the_next_turn_do_not_stop_those_that_are_sent_then() -> None:
    async def check() -> None:
        wire = Wire()
        connection: StoreConnection = wire
        heard = PipelineEvents(lambda _: None, lambda _: None, lambda _: None, lambda *_: None)
        config = StoreConfig(StoreAddress(), timeout_seconds=0)
        pipeline = Pipeline(connection, config, heard, asyncio.get_running_loop().time, b"secret")
        for number in range(2):
            pipeline.tell(ECHO, [], [number])
            pipeline._flush()  # noqa: SLF001 # twice in a turn, as when a call fell due while others waited for theirs
        assert len(wire.commands) == 2
        pipeline.close()

    uvloop.run(check())


@given(STEPS)
def test_each_gets_its_own_answer_or_learns_that_there_is_none(steps: list[tuple[str, int]]) -> None:
    async def law() -> None:
        wire, lost = Wire(), list[AwayReason]()
        connection: StoreConnection = wire
        heard = PipelineEvents(lambda _: None, lambda _: None, lambda _: None, lambda _, reason: lost.append(reason))
        config = StoreConfig(StoreAddress(), 60)
        pipeline = Pipeline(connection, config, heard, asyncio.get_running_loop().time, b"secret")
        answers: dict[int, asyncio.Future[ScriptResult]] = {}
        for number, (what, choice) in enumerate(steps):
            if pipeline.lost.done():
                with pytest.raises(StoreAwayError):
                    pipeline.run(ECHO, [], [number])
            elif what == "run":
                answers[number] = pipeline.run(ECHO, [], [number])
            elif what == "tell":
                pipeline.tell(ECHO, [], [number])
            elif what == "turn":
                await asyncio.sleep(0)
            else:
                play(what, choice, wire, answers)
        pipeline.close()
        assert wire.is_closed
        assert len(lost) == 1
        for number, answer in answers.items():
            assert answer.done()
            if not answer.cancelled() and answer.exception() is None:
                assert answer.result().value == number
        assert {type(each.exception()) for each in answers.values() if not each.cancelled()} <= {
            type(None),
            StoreAwayError,
            StoreRefusedError,
        }

    asyncio.run(law())


@pytest.mark.anyio
@pytest.mark.parametrize("fault", [RuntimeError, KeyError, AttributeError, AssertionError, RecursionError])
async def test_an_unexpected_fault_of_connecting_is_logged_and_tried_again(fault: type[Exception]) -> None:
    faults: list[object] = []
    tried: list[float] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: faults.append(type(context["exception"])))

    async def connect(_: StoreAddress, __: float) -> StoreConnection:
        tried.append(loop.time())
        raise fault("canary")

    heard = Heard()
    store = store_at(Path("none"), heard)
    store._connect = connect  # noqa: SLF001 # the seam, which store_at fills
    async with store:
        await until(lambda: len(tried) == 3)
        with pytest.raises(StoreAwayError) as away:
            await store.run(Script("return 1"), [], [])
    assert away.value.reason is AwayReason.PROTOCOL
    assert faults[:2] == [fault, fault]
    assert heard.events[:2] == [AwayReason.PROTOCOL] * 2
    assert min(later - earlier for earlier, later in pairwise(tried)) >= 0.49
