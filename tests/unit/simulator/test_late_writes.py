"""Writes that are made later: in the order of their times, each once, and never very many at a time."""

from gateway.simulator import late_writes
from gateway.simulator.late_writes import LateWrites


def test_writes_are_made_once_in_the_order_of_their_times() -> None:
    time, made = [0.0], list[str]()
    writes = LateWrites(lambda: time[0])
    for seconds, name in ((2, "second"), (1, "first"), (2, "third"), (9, "last")):
        writes.add(seconds, lambda name=name: made.append(name))  # type: ignore[misc] # binds the name of its turn

    for now, expected in ((0.9, 0), (2.0, 3), (2.0, 3), (8.9, 3), (9.0, 4)):
        time[0] = now
        writes.make_due()
        assert made == ["first", "second", "third", "last"][:expected]


def test_of_very_many_writes_the_first_is_made_early() -> None:
    made = list[int]()
    writes = LateWrites(lambda: 0.0)
    for number in range(late_writes.MOST_WAITING + 2):
        writes.add(number, lambda number=number: made.append(number))  # type: ignore[misc] # binds the number of its turn

    assert made == [0, 1]
    assert len(writes) == late_writes.MOST_WAITING
