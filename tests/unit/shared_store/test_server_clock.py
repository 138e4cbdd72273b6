"""The server's clock: instants are written in one way, and no age looks younger than it is."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from gateway.shared_store.server_clock import ServerClock

MICROSECOND = 1e-6
# What floating point may lose of seconds since 1970.
ROUNDING = 4 * MICROSECOND
DELAYS = st.floats(0, 0.15)
PAUSES = st.floats(0, 30)


@dataclass
class Server:
    """A server's clock, which is ahead of true time by an offset, and may be set."""

    offset: float = 1.7e9

    def at(self, true: float) -> int:
        return round((true + self.offset) * 1e6)


@dataclass
class Process:
    """A process whose clock is ahead of true time by its own offset and drifts; it asks the server now and then."""

    server: Server
    offset: float = 0.0
    drift: float = 0.0
    clock: ServerClock = field(default_factory=ServerClock)
    longest: float = 0.0

    def local(self, true: float) -> float:
        return true * (1 + self.drift) + self.offset

    def ask(self, true: float, there: float, back: float) -> float:
        """Ask at a time; gives the time afterwards."""
        self.longest = max(self.longest, there + back)
        self.clock.note(self.local(true), self.local(true + there + back), self.server.at(true + there))
        return true + there + back


STEPS = st.lists(st.tuples(DELAYS, DELAYS, PAUSES), min_size=1, max_size=20)
DRIFTS = st.floats(-4e-5, 4e-5)


@given(STEPS, DRIFTS, st.floats(-1e6, 1e6))
def test_times_there_and_back_are_the_same(steps: list[tuple[float, float, float]], drift: float, now: float) -> None:
    process, true = Process(Server(), 1e5, drift), 0.0
    for there, back, pause in steps:
        true = process.ask(true, there, back) + pause
    assert abs(process.clock.to_local(process.clock.to_server(now)) - now) <= ROUNDING


@given(STEPS, STEPS, st.floats(0, 60), DRIFTS, DRIFTS)
def test_an_age_over_two_processes_is_never_younger_than_true_by_more_than_a_round_trip(
    ours: list[tuple[float, float, float]],
    theirs: list[tuple[float, float, float]],
    age: float,
    drift: float,
    other: float,
) -> None:
    server = Server()
    writer, reader = Process(server, 5_000.0, drift), Process(server, -300.0, other)
    true = 0.0
    for there, back, pause in ours:
        true = writer.ask(true, there, back) + pause
    stamp = writer.clock.to_server(writer.local(true))
    since = true - ours[-1][2]
    for there, back, pause in theirs:
        since = max(since, reader.ask(since, there, back)) + pause
    until = max(since, true + age)
    seen = reader.local(until) - reader.clock.to_local(stamp)
    trip = (writer.longest + reader.longest) / 2
    # What the clocks drift since they were noted last is not a matter of the mapping.
    drifted = 2e-4 * (until + 60)
    assert seen >= (until - true) - trip - drifted - ROUNDING


@given(STEPS)
def test_the_offset_stays_the_same_as_long_as_it_may_be_right(steps: list[tuple[float, float, float]]) -> None:
    process, true = Process(Server()), 0.0
    written = set()
    # Each answer takes as long there as back, so the first guess is right.
    for there, _, pause in steps:
        true = process.ask(true, there, there) + pause
        written.add(process.clock.to_server(100.0))
    assert len(written) == 1


@given(st.lists(st.tuples(st.floats(-7_200, 7_200), PAUSES), min_size=1, max_size=30), DELAYS, st.integers(0, 29))
def test_no_jump_of_the_clock_makes_what_was_kept_younger(
    jumps: list[tuple[float, float]], delay: float, kept_at: int
) -> None:
    server = Server()
    process, true = Process(server), 0.0
    true = process.ask(true, delay, delay)
    stamps: list[tuple[float, int]] = []
    for place, (jump, pause) in enumerate(jumps):
        if place <= kept_at:
            stamps.append((true, process.clock.to_server(process.local(true))))
        true += pause
        server.offset += jump
        true = process.ask(true, delay, delay)
        for at, stamp in stamps:
            assert process.clock.to_local(stamp) <= process.local(at) + 2 * delay + 1e-4 * true + 0.001
        now = process.local(true)
        assert process.clock.to_local(process.clock.to_server(now)) <= now + ROUNDING


@given(st.floats(1, 7_200), st.booleans(), DELAYS)
def test_a_jump_is_said_once(jump: float, is_ahead: bool, delay: float) -> None:
    process = Process(Server())
    assert not process.clock.note(0, delay, process.server.at(0))
    process.server.offset += jump if is_ahead else -jump
    assert process.clock.note(1, 1 + delay, process.server.at(1 + delay / 2)) == (jump - delay > 0.51) or jump < 1.2
    assert not process.clock.note(2, 2 + delay, process.server.at(2 + delay / 2))


def test_after_a_setback_only_times_up_to_the_former_clocks_last_are_in_doubt() -> None:
    process = Process(Server(offset=1_000.0))
    process.clock.note(10, 10, process.server.at(10))
    process.server.offset -= 3
    process.clock.note(11, 11, process.server.at(11))
    # The former clock may have come to 1,011 s, which the new one reaches three seconds later.
    assert abs(process.clock.to_local(1_010_000_000) - 10) < 0.01
    assert abs(process.clock.to_local(1_012_000_000) - 15) < 0.01
