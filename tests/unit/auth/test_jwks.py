"""When keys are fetched, who waits for it, and what happens while they cannot be had."""

import asyncio
from collections.abc import Awaitable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.jwks import Key, KeySet, KeysUnavailableError
from tests.unit.auth.issuer import NO_ANSWER, Published, Time, key_set, private_key, public_jwk

OLD, NEW = (key_set(public_jwk(private_key("EdDSA", kid), kid)) for kid in ("old", "new"))
MINUTE, DAY = 60.0, 86_400.0


class Held:
    """A key set whose issuer and clock the test has in hand."""

    def __init__(self, text: bytes = OLD) -> None:
        self.published = Published(text)
        self.time = Time()
        self.reasons: list[str] = []
        self.keys = KeySet(self.published, clock=self.time, on_failed=self.reasons.append)

    async def find(self, kid: str = "old") -> Key | None:
        async with asyncio.timeout(30):
            return await self.keys.find(kid, "EdDSA")

    async def wait(self, wanted: Awaitable[object]) -> float:
        """How long the refusal asks to wait."""
        with pytest.raises(KeysUnavailableError) as refusal:
            await wanted
        assert refusal.value.retryable
        assert refusal.value.retry_after is not None
        return refusal.value.retry_after


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_nothing_is_fetched_before_the_first_token() -> None:
    held = Held()
    await turns()

    assert held.keys.current() is None
    assert held.published.fetches == 0
    assert await held.find() is not None
    assert held.keys.current() is not None
    assert held.published.fetches == 1


async def test_fresh_keys_are_not_fetched_again() -> None:
    held = Held()
    await held.find()

    held.time.seconds += 10 * MINUTE - 1
    await held.find()
    await turns()

    assert held.published.fetches == 1


async def test_older_keys_are_given_while_they_are_fetched_anew() -> None:
    held = Held()
    await held.find()
    held.published.text = NEW
    held.published.gate.clear()
    held.time.seconds += 10 * MINUTE

    assert await held.find("old") is not None
    assert await held.find("old") is not None
    held.published.gate.set()
    await turns()

    assert held.published.fetches == 2
    assert await held.find("old") is None
    assert await held.find("new") is not None
    assert held.published.fetches == 2


async def test_a_slow_fetch_is_not_joined_by_another() -> None:
    held = Held()
    await held.find()
    held.published.gate.clear()
    for _ in range(3):
        held.time.seconds += 10 * MINUTE
        assert held.keys.current() is not None
        await turns()

    assert held.published.fetches == 2
    await held.keys.close()


async def test_everybody_waits_for_the_one_fetch() -> None:
    held = Held()
    held.published.gate.clear()
    waiting = [asyncio.ensure_future(held.find()) for _ in range(50)]
    await turns()

    held.published.gate.set()

    assert None not in await asyncio.gather(*waiting)
    assert held.published.fetches == 1


async def test_whoever_gives_up_leaves_the_fetch_to_the_others() -> None:
    held = Held()
    held.published.gate.clear()
    first, second, third = (asyncio.ensure_future(held.find()) for _ in range(3))
    await turns()

    first.cancel()
    third.cancel()
    await turns()
    held.published.gate.set()

    assert await second is not None
    assert first.cancelled()
    assert third.cancelled()
    assert held.published.fetches == 1


async def test_a_fetch_that_nobody_waits_for_any_more_is_of_use_to_the_next() -> None:
    held = Held()
    held.published.gate.clear()
    for _ in range(20):
        waiting = asyncio.ensure_future(held.find())
        await turns()
        waiting.cancel()
        await turns()
    held.published.gate.set()
    await turns()

    assert await held.find() is not None
    assert held.published.fetches == 1


async def test_keys_that_cannot_be_had_are_not_the_callers_fault() -> None:
    held = Held()
    held.published.failure = NO_ANSWER

    assert await held.wait(held.find()) == 5
    held.time.seconds += 3
    assert await held.wait(held.find()) == 2
    assert held.published.fetches == 1
    assert held.reasons == ["no answer within 5 s"]

    held.published.failure = None
    held.time.seconds += 2
    assert await held.find() is not None
    assert held.published.fetches == 2


async def test_all_who_wait_are_told_of_a_failure() -> None:
    held = Held()
    held.published.failure = NO_ANSWER
    held.published.gate.clear()
    waiting = [asyncio.ensure_future(held.find()) for _ in range(5)]
    await turns()

    held.published.gate.set()

    for each in waiting:
        assert await held.wait(each) == 5
    assert held.reasons == ["no answer within 5 s"]


async def test_while_the_fetch_fails_keys_serve_for_a_day() -> None:
    held = Held()
    await held.find()
    held.published.failure = NO_ANSWER
    for _ in range(10 * 60):
        held.time.seconds += 2 * MINUTE
        assert await held.find() is not None
        await turns()
    failed = held.published.fetches

    held.time.seconds += 4 * 60 * MINUTE + 10 * MINUTE - 1
    assert await held.find() is not None
    held.time.seconds += 1

    await held.wait(held.find())
    assert failed > 500
    assert len(held.reasons) == held.published.fetches - 1


async def test_a_failing_issuer_is_asked_every_half_minute_at_most() -> None:
    held = Held()
    await held.find()
    held.published.failure = NO_ANSWER
    held.time.seconds += 10 * MINUTE
    for _ in range(100):
        held.time.seconds += 1
        await held.find()
        await turns()

    assert held.published.fetches == 1 + 4


async def test_an_unknown_kid_brings_the_issuers_new_keys() -> None:
    held = Held()
    await held.find()
    held.published.text = NEW
    held.time.seconds += 30

    assert await held.find("new") is not None
    assert await held.find("old") is None
    assert held.published.fetches == 2


async def test_made_up_kids_have_the_issuer_asked_every_half_minute_at_most() -> None:
    held = Held()
    for number in range(300):
        assert await held.find(f"made up {number}\r\n") is None
        held.time.seconds += 1

    assert held.published.fetches == 10


async def test_a_kid_is_not_called_unknown_while_the_issuer_cannot_be_asked() -> None:
    held = Held()
    await held.find()
    held.published.failure = NO_ANSWER
    held.time.seconds += 40

    assert await held.wait(held.find("new")) == 30
    held.time.seconds += 10
    assert await held.wait(held.find("new")) == 20
    assert await held.find("old") is not None
    assert held.published.fetches == 2


async def test_a_set_without_usable_keys_revokes_and_is_reported() -> None:
    held = Held()
    await held.find()
    held.published.text = key_set({"kty": "oct", "k": "c2VjcmV0"})
    held.time.seconds += 10 * MINUTE
    await held.find()
    await turns()

    assert await held.find() is None
    assert held.reasons == ["it holds no key for RS256, ES256, EdDSA"]


async def test_what_is_no_key_set_leaves_the_keys_as_they_are() -> None:
    held = Held()
    await held.find()
    held.published.text = b"<html>canary</html>"
    held.time.seconds += 10 * MINUTE
    await held.find()
    await turns()

    assert await held.find() is not None
    assert held.reasons == ["it is not a JSON Web Key Set"]


async def test_closing_ends_the_fetch_and_closes_the_source() -> None:
    held = Held()
    held.published.gate.clear()
    waiting = asyncio.ensure_future(held.find())
    await turns()

    await held.keys.close()
    await turns()

    assert held.published.closed
    assert waiting.cancelled()
    assert held.keys.current() is None


moves = st.lists(
    st.tuples(
        st.sampled_from([0.0, 1.0, 4.0, 5.0, 29.0, 30.0, 10 * MINUTE, DAY, DAY + 10 * MINUTE]),
        st.sampled_from(["old", "new", "made up"]),
        st.sampled_from([OLD, NEW, b"{}", key_set()]),
        st.booleans(),
    ),
    max_size=40,
)


@given(moves)
def test_whatever_comes_the_issuer_is_spared_and_old_keys_end(steps: list[tuple[float, str, bytes, bool]]) -> None:
    async def run() -> None:
        held = Held()
        asked: list[float] = []
        vouched: dict[str, float] = {}
        for pause, kid, text, fails in steps:
            held.time.seconds += pause
            held.published.text, held.published.failure = text, NO_ANSWER if fails else None
            before = held.published.fetches
            try:
                found = await held.find(kid)
            except KeysUnavailableError:
                found = None
            await turns()
            if held.published.fetches > before:
                asked += [held.time.seconds]
                if not fails:
                    vouched |= {name: held.time.seconds for name, each in (("old", OLD), ("new", NEW)) if each == text}
            if found is not None:
                assert held.time.seconds - vouched[kid] < DAY + 10 * MINUTE
            assert held.published.fetches <= before + 1
        assert all(later - earlier >= 5 for earlier, later in pairwise(asked))

    asyncio.run(run())


async def test_a_fault_of_the_source_is_no_fault_of_the_next_fetch() -> None:
    held = Held()
    held.published.failure = RuntimeError("a fault")
    with pytest.raises(RuntimeError):
        await held.find()
    held.published.failure = None
    held.time.seconds += 5

    assert await held.find() is not None
