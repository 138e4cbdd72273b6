"""What the caches of functions take: they are bounded by their number of entries, so they must keep no long texts."""

import asyncio
import gc
import json
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import pytest

from gateway.domain.errors import UpstreamInvalidAnswer
from gateway.domain.ids import NodeType, node_id
from gateway.domain.models import CareUnitKey, Timeslot
from gateway.domain.queries import Step
from gateway.domain.window import Window
from gateway.http.negotiation import ENCODINGS, MediaType, preferred_encoding, preferred_media_type
from gateway.leyr.decoding import ListDecoder
from tests.unit.leyr.test_client import WINDOW, FakeLeyr

TIMES = 300
LONG = "å" * 1_000
# httpx, which plays Leyr, takes a millisecond for each hundred letters that it has to encode.
LONG_IN_URLS = "b" * 1_000 + "å"
TIMESLOTS = ListDecoder(Timeslot, "start", instants=("start", "end"), max_items=100_000)


def ask_upstream(number: int) -> None:
    async def ask() -> None:
        care_unit = CareUnitKey("webdoc", f"{LONG_IN_URLS}{number}")
        async with FakeLeyr().client() as client:
            await client.resources(care_unit)
            await client.timeslots(Step(care_unit, Window(WINDOW.start, WINDOW.end), care_unit.care_unit))

    asyncio.run(ask())


def decode_times(number: int) -> None:
    for text in (f"2026-12-01T09:00:00.{number:06}{'0' * 2_000}+01:00", f"{LONG}{number}"):
        with suppress(UpstreamInvalidAnswer):
            TIMESLOTS.decode(json.dumps([{"start": text}]).encode())


@pytest.mark.parametrize(
    "use",
    [
        pytest.param(lambda n: preferred_media_type(f"*/*, {'b' * 2_000}{n}", tuple(MediaType)), id="Accept"),
        pytest.param(lambda n: preferred_encoding(f"gzip, {'b' * 2_000}{n}", ENCODINGS), id="Accept-Encoding"),
        pytest.param(lambda n: node_id(NodeType.RESOURCE, CareUnitKey("webdoc", "1"), f"{LONG}{n}"), id="node ids"),
        pytest.param(lambda n: node_id(NodeType.RESOURCE, CareUnitKey("webdoc", f"{LONG}{n}"), "1"), id="care units"),
        pytest.param(ask_upstream, id="paths"),
        pytest.param(decode_times, id="times"),
    ],
)
def test_long_texts_are_not_kept(use: Callable[[int], object]) -> None:
    use(-1)
    gc.collect()
    tracemalloc.start()
    for number in range(TIMES):
        use(number)
    gc.collect()
    size, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert size < TIMES * 700
