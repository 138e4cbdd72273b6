"""Happy Eyeballs: the order of addresses and the beginnings of attempts, decided without a clock."""

from socket import AF_INET, AF_INET6

from hypothesis import given
from hypothesis import strategies as st

from gateway.http_client.happy_eyeballs import Address, Race, in_order

SIX = [Address(f"2001:db8::{n}", AF_INET6) for n in range(1, 6)]
FOUR = [Address(f"192.0.2.{n}", AF_INET) for n in range(1, 6)]


def test_families_take_turns_from_the_one_that_the_system_prefers() -> None:
    assert in_order(SIX[:3] + FOUR[:2]) == (SIX[0], FOUR[0], SIX[1], FOUR[1], SIX[2])
    assert in_order(FOUR[:1] + SIX[:2]) == (FOUR[0], SIX[0], SIX[1])


def test_of_many_addresses_eight_are_tried_and_of_one_family_no_fewer() -> None:
    assert in_order(SIX + FOUR) == (*(each for pair in zip(SIX, FOUR, strict=True) for each in pair),)[:8]
    assert in_order(FOUR) == tuple(FOUR)


@given(st.lists(st.sampled_from(SIX + FOUR)))
def test_order_loses_and_repeats_no_address_and_keeps_the_systems_within_a_family(given: list[Address]) -> None:
    ordered = in_order(given)

    assert len(ordered) == min(8, len(set(given)))
    for family in (AF_INET, AF_INET6):
        mine = [each for each in dict.fromkeys(given) if each.family == family]
        assert [each for each in ordered if each.family == family] == mine[: sum(a.family == family for a in ordered)]
    assert ordered[:1] == tuple(given[:1])


def test_the_next_attempt_begins_after_the_delay() -> None:
    race = Race(FOUR[:2], 0.25)

    assert race.begin(10.0) == FOUR[0]
    assert race.begin(10.2) is None
    assert race.wait_seconds(10.0) == 0.25
    assert race.begin(10.25) == FOUR[1]
    assert race.wait_seconds(10.25) is None
    assert race.begin(99.0) is None


def test_the_next_attempt_begins_at_once_when_one_failed() -> None:
    race = Race(FOUR[:3], 0.25)
    race.begin(10.0)

    race.failed()

    assert race.wait_seconds(10.1) == 0.0
    assert race.begin(10.1) == FOUR[1]
    assert race.begin(10.2) is None


def test_a_race_is_lost_when_all_attempts_failed_and_not_before() -> None:
    race = Race(FOUR[:2], 0.25)
    race.begin(10.0)
    race.begin(10.25)
    race.failed()
    assert not race.is_lost

    race.failed()

    assert race.is_lost
