"""The upstream of the benchmarks answers as the simulator does, and counts calls."""

from datetime import date
from urllib.parse import urlencode

import httpx
import orjson
import pytest

from benchmarks.upstream import Upstream
from gateway.simulator import SimulatorSettings, create_simulator

UNITS = "/api/emrs/webdoc/care-units"
WINDOW = urlencode({"start": "2026-03-02T22:00:00+01:00", "end": "2026-03-10T00:00:00+01:00"})
CREDENTIALS = {"x-leyr-client-id": "simulator", "x-leyr-client-secret": "simulator"}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def simulator() -> httpx.ASGITransport:
    return httpx.ASGITransport(create_simulator(SimulatorSettings(today=date(2026, 3, 2), latency_ms=0)))


def upstream(most_bytes: int = 2**20) -> Upstream:
    settings = SimulatorSettings(today=date(2026, 3, 2), latency_ms=0)
    return Upstream(create_simulator(settings), most_bytes)


def request(target: str, **headers: str) -> bytes:
    given = {"host": "leyr.test", **(headers or CREDENTIALS)}
    return "\r\n".join([f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]).encode()


@pytest.mark.parametrize(
    "target",
    [UNITS, f"{UNITS}/L0_1/resources", f"{UNITS}/L0_2/healthcare-services", f"{UNITS}/L0_3/timeslots?{WINDOW}"],
)
async def test_upstream_answers_as_the_simulator_does(target: str) -> None:
    async with httpx.AsyncClient(transport=simulator(), base_url="http://leyr.test", headers=CREDENTIALS) as client:
        told = await client.get(target)
    asked = upstream()

    first, second = (asked.answer(request(target)) for _ in range(2))

    assert first is second
    assert first.body == told.content
    assert first.head.startswith(b"HTTP/1.1 200 ")
    assert b"content-length: %d\r\n" % len(told.content) in first.head


def test_upstream_refuses_wrong_credentials() -> None:
    assert upstream().answer(request(UNITS, accept="*/*")).head.startswith(b"HTTP/1.1 401 ")


def test_upstream_counts_every_call() -> None:
    asked = upstream()
    for target in (UNITS, UNITS, f"{UNITS}/L0_1/resources"):
        asked.answer(request(target))

    told = orjson.loads(asked.answer(request("/__calls")).body)
    forgotten = orjson.loads(asked.answer(request("/__reset")).body)

    assert told == {"total": 3, "by_endpoint": {"care-units": 2, "resources": 1}}
    assert forgotten["total"] == 0


def test_upstream_keeps_a_bounded_number_of_answers() -> None:
    asked = upstream(most_bytes=5000)
    for number in range(20):
        asked.answer(request(f"{UNITS}/L0_1/resources?n={number}"))

    assert 0 < asked.kept_bytes <= 5000
