"""Graceful shutdown by signals: readiness says so, accepted requests are answered, new connections are refused."""

import asyncio
import json
import re
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.harness import CLIENT_ID, CLIENT_SECRET, Simulator
from tests.processes import Serving

IN_FLIGHT = 200
# Each wants an answer from after its beginning, so each has a call of its own.
OWN_CALL = {"content-type": "application/json", "cache-control": "no-cache"}
QUERY = "query($emr: String!) { careUnits(emr: $emr) { leyrId } }"
STARTS_WITHIN = 20


@pytest.fixture
def serve(simulator: Simulator, tmp_path: Path) -> Iterator[Callable[..., Serving]]:
    with ExitStack() as stack:

        def start(**settings: str) -> Serving:
            environment = {
                "LEYR_BASE_URL": f"{simulator.url}/api",
                "LEYR_CLIENT_ID": CLIENT_ID,
                "LEYR_CLIENT_SECRET": CLIENT_SECRET,
                "LEYR_EMRS": ",".join(simulator.emrs),
                **settings,
            }
            command = ("-m", "gateway", "serve", "--port", "0")
            return stack.enter_context(Serving(tmp_path / "output", *command, **environment))

        yield start


# For calls that take seconds by themselves, on a machine that does other things too.
PATIENCE = {"GATEWAY_ATTEMPT_SECONDS": "20", "GATEWAY_DEADLINE_SECONDS": "20", "GATEWAY_CONNECT_SECONDS": "20"}


async def asks(http: httpx.AsyncClient, emr: str) -> httpx.Response:
    return await http.post("/graphql", json={"query": QUERY, "variables": {"emr": emr}}, headers=OWN_CALL)


async def until_in_flight(simulator: Simulator, number: int) -> None:
    for _ in range(STARTS_WITHIN * 50):
        if sum(simulator.count().values()) >= number:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(simulator.count())


async def until_not_ready(url: str) -> httpx.Response:
    """Wait until readiness fails; that response."""
    async with asyncio.timeout(STARTS_WITHIN), httpx.AsyncClient(base_url=url) as prober:
        while True:
            answer = await prober.get("/readyz")
            if answer.status_code != 200:
                return answer
            await asyncio.sleep(0.01)


async def until_refused(url: str) -> None:
    """Wait until connections are refused."""
    address = httpx.URL(url)
    async with asyncio.timeout(STARTS_WITHIN):
        while True:
            try:
                _, writer = await asyncio.open_connection(address.host, address.port)
            except ConnectionResetError:
                continue
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_two_hundred_requests_in_flight_are_answered(
    number: signal.Signals, serve: Callable[..., Serving], simulator: Simulator
) -> None:
    for emr in simulator.emrs:
        simulator.behaviour(emr, latency_ms=3_500, latency_jitter=0)
    serving = serve(GATEWAY_DRAIN_SECONDS="0.5", **PATIENCE)
    url = serving.url()
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=None)) as http:
        emrs = [simulator.emrs[at % len(simulator.emrs)] for at in range(IN_FLIGHT)]
        asked = [asyncio.create_task(asks(http, emr)) for emr in emrs]
        await until_in_flight(simulator, IN_FLIGHT)

        serving.process.send_signal(number)
        await until_refused(url)
        unanswered = sum(not each.done() for each in asked)
        answers = await asyncio.gather(*asked)
        status = await serving.ended()

    assert unanswered == IN_FLIGHT
    assert Counter(each.status_code for each in answers) == {200: IN_FLIGHT}
    assert all(each.json()["data"]["careUnits"] for each in answers)
    assert {each.headers["connection"] for each in answers} == {"close"}
    assert status == 0
    assert serving.events()["operation.answered"] == IN_FLIGHT
    assert serving.events("error") == {}
    assert serving.events()["gateway.cut_off"] == 0


async def test_a_call_that_nobody_waits_for_ends_with_the_process_and_delays_no_stop(
    serve: Callable[..., Serving], simulator: Simulator
) -> None:
    simulator.fault("hang", endpoint="care_units", emr="webdoc")
    times = {"GATEWAY_DEADLINE_SECONDS": "0.2", "GATEWAY_ATTEMPT_SECONDS": "120", "GATEWAY_CALL_SECONDS": "600"}
    serving = serve(GATEWAY_DRAIN_SECONDS="0", **times)
    async with httpx.AsyncClient(base_url=serving.url(), timeout=30) as http:
        answer = (await asks(http, "webdoc")).json()
    assert [each["extensions"]["code"] for each in answer["errors"]] == ["DEADLINE_EXCEEDED"]
    assert [call["ended_at"] for call in simulator.calls()] == [None]

    serving.process.send_signal(signal.SIGTERM)
    status = await serving.ended()

    assert status == 0
    assert serving.events("warning") == serving.events("error") == {}


@dataclass
class Asking:
    """Clients that send one request after the other until their connection is refused, and the result of each."""

    url: httpx.URL
    keep: bool
    became: Counter[str] = field(default_factory=Counter)

    async def until_refused(self) -> None:
        kept = None
        while True:
            try:
                reader, writer = kept or await asyncio.open_connection(self.url.host, self.url.port)
            except ConnectionRefusedError:
                return
            except ConnectionResetError as error:
                self.became[type(error).__name__] += 1
                continue
            kept = None
            try:
                status, is_last = await self._ask(reader, writer)
            except (OSError, EOFError) as error:
                self.became[type(error).__name__] += 1
                writer.close()
                continue
            self.became[f"{status} last" if is_last else status] += 1
            if self.keep and not is_last:
                kept = reader, writer
            else:
                writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, bool]:
        body = json.dumps({"query": QUERY, "variables": {"emr": "webdoc"}}).encode()
        fields = {**OWN_CALL, "host": "a", "content-length": len(body)}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(b"POST /graphql HTTP/1.1\r\n%b\r\n%b" % (head.encode(), body))
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: (\d+)", answer)
        assert length is not None
        await reader.readexactly(int(length[1]))
        return answer.split()[1].decode(), b"\r\nconnection: close\r\n" in answer


@pytest.mark.parametrize(
    ("number", "keep", "workers"),
    [
        (signal.SIGTERM, True, "1"),
        (signal.SIGTERM, False, "1"),
        (signal.SIGINT, False, "1"),
        (signal.SIGTERM, False, "2"),
        (signal.SIGINT, False, "3"),
    ],
)
async def test_every_accepted_request_is_answered(
    number: signal.Signals,
    keep: bool,
    workers: str,
    serve: Callable[..., Serving],
    simulator: Simulator,
) -> None:
    simulator.behaviour("webdoc", latency_ms=20, latency_jitter=0)
    serving = serve(GATEWAY_DRAIN_SECONDS="2", GATEWAY_WORKERS=workers)
    asking = Asking(httpx.URL(serving.url()), keep)
    clients = [asyncio.create_task(asking.until_refused()) for _ in range(50)]
    await until_in_flight(simulator, 500)

    serving.process.send_signal(number)
    await asyncio.gather(*clients)
    status = await serving.ended()

    answered = asking.became["200"] + asking.became["200 last"]
    assert serving.events()["operation.answered"] == answered
    # Who connects in the very instant in which the socket closes is reset.
    assert asking.became.total() - answered <= asking.became.total() // 1_000, asking.became
    assert status == 0


async def test_drain_is_reported_and_ends_with_a_second_signal(
    serve: Callable[..., Serving], simulator: Simulator
) -> None:
    serving = serve(GATEWAY_DRAIN_SECONDS="300", GATEWAY_METRICS_PORT="0")
    url, metrics = serving.url(), serving.url("gateway.metrics")
    async with httpx.AsyncClient(base_url=url, timeout=30) as http:
        before = await asks(http, "webdoc")
        assert "gateway_ready 1.0" in (await http.get(metrics)).text
        serving.process.send_signal(signal.SIGTERM)
        told = await until_not_ready(url)
        alive, answered, scraped = await http.get("/livez"), await asks(http, "webdoc"), await http.get(metrics)
        details = await http.get(metrics.replace("/metrics", "/readyz"))
        serving.process.send_signal(signal.SIGTERM)
        status = await serving.ended()

    assert before.headers.get("connection") is None
    assert told.status_code == 503
    assert told.json() == {"status": "stopping"}, "strangers are told of no EHR"
    assert details.status_code == 503
    assert details.json() == {"status": "stopping", "emrs": {emr: {"breaker": "closed"} for emr in simulator.emrs}}
    assert (alive.status_code, answered.status_code, scraped.status_code) == (200, 200, 200)
    assert "gateway_ready 0.0" in scraped.text
    assert {each.headers["connection"] for each in (told, alive, answered)} == {"close"}
    assert answered.json()["data"]["careUnits"]
    assert serving.events()["gateway.stopping"] == 1
    assert status == 0


async def test_second_signal_cuts_off_requests_in_flight(serve: Callable[..., Serving], simulator: Simulator) -> None:
    simulator.fault("hang", emr="webdoc")
    serving = serve(GATEWAY_DEADLINE_SECONDS="100", GATEWAY_ATTEMPT_SECONDS="100")
    url = serving.url()
    async with httpx.AsyncClient(base_url=url, timeout=60) as http:
        asked = [asyncio.create_task(asks(http, "webdoc")) for _ in range(20)]
        await until_in_flight(simulator, 20)
        serving.process.send_signal(signal.SIGINT)
        await until_refused(url)
        assert not any(each.done() for each in asked)
        serving.process.send_signal(signal.SIGINT)
        status = await serving.ended()
        ends = await asyncio.gather(*asked, return_exceptions=True)

    assert all(isinstance(each, httpx.TransportError) for each in ends)
    assert serving.events("warning")["gateway.cut_off"] == 1
    assert serving.events("error") == {}
    assert status == 0


async def test_requests_that_hang_at_shutdown_end_at_their_deadline(
    serve: Callable[..., Serving], simulator: Simulator
) -> None:
    simulator.fault("hang", emr="webdoc")
    serving = serve(GATEWAY_DEADLINE_SECONDS="1", GATEWAY_DRAIN_SECONDS="0")
    async with httpx.AsyncClient(base_url=serving.url(), timeout=30) as http:
        asked = [asyncio.create_task(asks(http, "webdoc")) for _ in range(20)]
        await until_in_flight(simulator, 20)
        serving.process.send_signal(signal.SIGTERM)
        answers = await asyncio.gather(*asked)
        status = await serving.ended()

    assert {code for each in answers for code in codes(each)} == {"DEADLINE_EXCEEDED"}
    assert status == 0


@pytest.mark.parametrize(("number", "drain"), [(signal.SIGINT, "300"), (signal.SIGTERM, "0")])
async def test_idle_connections_do_not_delay_the_shutdown(
    number: signal.Signals, drain: str, serve: Callable[..., Serving]
) -> None:
    serving = serve(GATEWAY_DRAIN_SECONDS=drain)
    address = httpx.URL(serving.url())
    idle = [await asyncio.open_connection(address.host, address.port) for _ in range(50)]
    async with httpx.AsyncClient(base_url=address) as http:
        assert (await http.get("/readyz")).json()["status"] == "ready"
        serving.process.send_signal(number)
        status = await serving.ended()
    for _, writer in idle:
        writer.close()

    assert status == 0


def codes(response: httpx.Response) -> list[Any]:
    return [error["extensions"]["code"] for error in response.json()["errors"]]
