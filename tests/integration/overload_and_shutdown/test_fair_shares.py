"""Overload of one caller's or one EHR's making reaches nobody else: permits, rates, upstream calls, unsent bytes."""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack

import httpx
import pytest

from tests.harness import CACHES_ON, Clock, Gateway, Simulator, refusal
from tests.stand_ins.raw_client import RawConnection

Serve = Callable[..., Gateway]
LOUD, QUIET = "192.0.2.1", "192.0.2.2"
OWN_CALL = {"cache-control": "no-cache"}
# Each test says whose requests they are, as a proxy on this machine would.
BEHIND_A_PROXY = {"gateway_trusted_proxies": ("127.0.0.1",)}
UNLIMITED = {"gateway_rate_per_second": 1e6, "gateway_rate_burst": 10**6, "gateway_calls_per_minute": 10**6}
PERMITS, SLOW_MS, ASKED = 24, 700, 78


def units(emr: str) -> dict[str, str]:
    return {"query": f'{{ careUnits(emr: "{emr}") {{ leyrId }} }}'}


def ask(gateway: Gateway, address: str, emr: str = "webdoc", **headers: str) -> httpx.Response:
    return gateway.http.post("/graphql", json=units(emr), headers={"x-forwarded-for": address, **headers})


async def compete(url: str, loud: Iterable[str], quiet_emr: str) -> tuple[list[httpx.Response], list[httpx.Response]]:
    """Some addresses ask a slow EHR for many things at a time, while another asks: the responses to both."""
    flood: list[asyncio.Task[httpx.Response]] = []
    answers: list[httpx.Response] = []
    addresses = list(loud)
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits, headers=OWN_CALL) as http:

        def send(address: str, emr: str) -> asyncio.Task[httpx.Response]:
            asked = http.post("/graphql", json=units(emr), headers={"x-forwarded-for": address})
            return asyncio.create_task(asked)

        flood += [send(addresses[number % len(addresses)], "webdoc") for number in range(3 * PERMITS)]
        for turn in range(ASKED):
            flood += [send(addresses[(turn * 2 + each) % len(addresses)], "webdoc") for each in range(2)]
            answers.append(await send(QUIET, quiet_emr))
        return await asyncio.gather(*flood), answers


@pytest.mark.parametrize(
    ("loud", "quiet_emr"),
    [
        ([LOUD], "kaddio"),
        ([LOUD, "::1", "2001:db8::1"], "cliniko"),
        ([f"10.0.0.{number}" for number in range(90)], "kaddio"),
        ([QUIET], "kaddio"),
    ],
    ids=["another caller", "three callers", "ninety callers", "the caller itself"],
)
async def test_requests_for_a_well_ehr_are_answered_each_time_beside_a_slow_one_of(
    loud: list[str], quiet_emr: str, serve_gateway: Serve, simulator: Simulator
) -> None:
    settings = {**BEHIND_A_PROXY, **UNLIMITED, "gateway_max_concurrent_requests": PERMITS}
    gateway = serve_gateway(**settings)
    simulator.behaviour("webdoc", latency_ms=SLOW_MS, latency_jitter=0)
    simulator.behaviour(quiet_emr, latency_ms=0, latency_jitter=0)

    flood, answers = await compete(gateway.url, loud, quiet_emr)

    assert Counter(each.status_code for each in answers) == {200: ASKED}
    assert all("errors" not in each.json() for each in answers)
    statuses = Counter(each.status_code for each in flood)
    assert set(statuses) == {200, 503}
    # All the same the slow EHR's callers get what is left.
    assert statuses[200] >= PERMITS - 1
    rejected = [each for each in flood if each.status_code == 503]
    assert {refusal(each) for each in rejected} == {(503, "OVERLOADED")}
    assert {each.headers["retry-after"] for each in rejected} == {"1"}
    assert {each.json()["errors"][0]["extensions"]["retryAfter"] for each in rejected} == {1.0}
    assert gateway.gauge("gateway_requests_inside") == 0
    assert gateway.gauge("gateway_limits_reached_total") == len(rejected)


async def test_a_caller_of_the_slow_ehr_gets_its_part_of_it_too(serve_gateway: Serve, simulator: Simulator) -> None:
    gateway = serve_gateway(**BEHIND_A_PROXY, **UNLIMITED, gateway_max_concurrent_requests=PERMITS)
    simulator.behaviour("webdoc", latency_ms=50, latency_jitter=0)

    _, answers = await compete(gateway.url, [LOUD], "webdoc")

    assert Counter(each.status_code for each in answers) == {200: ASKED}


async def test_a_caller_waits_for_few_calls_of_one_that_fills_an_ehrs_queue(
    serve_gateway: Serve, simulator: Simulator
) -> None:
    gateway = serve_gateway(**BEHIND_A_PROXY, **UNLIMITED, gateway_calls_per_ehr=1)
    simulator.behaviour("webdoc", latency_ms=30, latency_jitter=0)
    finished: list[str] = []

    async with httpx.AsyncClient(base_url=gateway.url, timeout=30, headers=OWN_CALL) as http:

        async def asked(address: str) -> None:
            response = await http.post("/graphql", json=units("webdoc"), headers={"x-forwarded-for": address})
            assert "errors" not in response.json()
            finished.append(address)

        flood = [asyncio.create_task(asked(LOUD)) for _ in range(40)]
        while gateway.gauge("gateway_gate_waiting") < 39:  # noqa: ASYNC110 # the gateway tells nobody of its queue
            await asyncio.sleep(0.001)
        already = len(finished)
        await asked(QUIET)
        before = finished.index(QUIET) - already
        await asyncio.gather(*flood)

    # One that is in flight, one whose turn it is, and what the asking itself took.
    assert before <= 10


def test_each_address_has_a_rate_and_connections_of_this_machine_have_none(serve_gateway: Serve) -> None:
    clock = Clock()
    rate = {"gateway_rate_per_second": 5, "gateway_rate_burst": 10}
    gateway = serve_gateway(clock=clock, **BEHIND_A_PROXY, **rate)
    plain = serve_gateway(clock=clock, **rate)

    loud = [ask(gateway, f"10.0.0.{number}, {LOUD}") for number in range(15)]
    quiet = [ask(gateway, QUIET) for _ in range(10)]

    assert [each.status_code for each in loud] == [200] * 10 + [429] * 5
    assert {refusal(each) for each in loud[10:]} == {(429, "RATE_LIMITED")}
    assert {each.headers["retry-after"] for each in loud[10:]} == {"1"}
    assert {each.status_code for each in quiet} == {200}
    clock.seconds += 1
    # Several lines of a header are one list.
    lines = [("x-forwarded-for", QUIET), ("x-forwarded-for", LOUD)]
    spoken = [gateway.http.post("/graphql", json=units("webdoc"), headers=lines) for _ in range(6)]
    assert [each.status_code for each in spoken] == [200] * 5 + [429]
    # Whoever connects from this machine and is no proxy may stand for everybody.
    assert {ask(plain, LOUD).status_code for _ in range(30)} == {200}


def test_addresses_of_one_ipv6_network_share_a_rate(serve_gateway: Serve) -> None:
    gateway = serve_gateway(clock=Clock(), **BEHIND_A_PROXY, gateway_rate_per_second=1, gateway_rate_burst=2)

    addresses = ["2001:db8:1:1::1", "2001:db8:1:1::2", "2001:db8:1:1:ffff::", "2001:db8:1:2::1"]

    assert [ask(gateway, address).status_code for address in addresses] == [200, 200, 429, 200]


def test_an_address_reaches_no_log_metric_or_error(serve_gateway: Serve) -> None:
    gateway = serve_gateway(
        clock=Clock(), **BEHIND_A_PROXY, gateway_rate_burst=1, gateway_calls_per_minute=1, gateway_log_level="debug"
    )
    responses = [ask(gateway, LOUD, forwarded=f"for={LOUD}") for _ in range(3)]
    responses += [ask(gateway, "2001:db8:77::1") for _ in range(3)]

    assert [each.status_code for each in responses] == [200, 429, 429] * 2
    assert gateway.metrics is not None
    said = [gateway.log.getvalue(), str(list(gateway.metrics.collect()))]
    said += [str(each.headers) + each.text for each in responses]
    assert not [each for each in said if LOUD in each or "2001:db8" in each]
    assert {line["caller"] for line in gateway.lines() if "caller" in line} == {"anonymous"}


def test_eight_clients_with_no_cache_make_no_more_calls_than_their_budget(
    serve_gateway: Serve, simulator: Simulator
) -> None:
    clock = Clock()
    gateway = serve_gateway(clock=clock, **BEHIND_A_PROXY, **{**UNLIMITED, "gateway_calls_per_minute": 60}, **CACHES_ON)
    assert ask(gateway, QUIET, "kaddio").status_code == 200
    simulator.forget()

    answers = []
    for _ in range(30):
        answers += [ask(gateway, LOUD, **OWN_CALL) for _ in range(8)]
        clock.seconds += 1

    # Half a minute's at once, and one a second after that.
    assert simulator.count() == {"care_units": 30 + 29}
    limited = [each.json() for each in answers if "errors" in each.json()]
    assert len(limited) == 30 * 8 - 59
    for answer in limited:
        (error,) = answer["errors"]
        assert answer["data"] == {"careUnits": None}
        assert (error["extensions"]["code"], error["extensions"]["origin"]) == ("RATE_LIMITED", "client")
        assert error["extensions"]["retryAfter"] >= 1
    # What is remembered goes on, and so do others.
    assert "errors" not in ask(gateway, LOUD, "kaddio").json()
    assert "errors" not in ask(gateway, QUIET, **OWN_CALL).json()
    clock.seconds += limited[-1]["errors"][0]["extensions"]["retryAfter"]
    assert "errors" not in ask(gateway, LOUD, **OWN_CALL).json()


async def test_joining_the_call_of_another_costs_no_budget(serve_gateway: Serve, simulator: Simulator) -> None:
    gateway = serve_gateway(**BEHIND_A_PROXY, **{**UNLIMITED, "gateway_calls_per_minute": 2})
    simulator.behaviour("webdoc", latency_ms=300, latency_jitter=0)

    async with httpx.AsyncClient(base_url=gateway.url, timeout=30, headers={"x-forwarded-for": LOUD}) as http:
        answers = await asyncio.gather(*(http.post("/graphql", json=units("webdoc")) for _ in range(12)))

    assert all("errors" not in each.json() for each in answers)
    assert simulator.count() == {"care_units": 1}


# More than buffers on the way hold.
COPIES, MEBIBYTES = 6, 24
SLOTS = " ".join(f'c{n}: timeslots(end: "2026-12-30T00:00:00Z") {{ start end resourceId }}' for n in range(COPIES))
LARGE = json.dumps({"query": f'{{ careUnits(emr: "webdoc") {{ {SLOTS} }} }}'}).encode()


def large_answer(gateway: Gateway, address: str) -> httpx.Response:
    headers = {"content-type": "application/json", "accept-encoding": "identity", "x-forwarded-for": address}
    return gateway.http.post("/graphql", content=LARGE, headers=headers)


def test_answers_that_one_caller_does_not_read_keep_no_others_from_theirs(serve_gateway: Serve) -> None:
    gateway = serve_gateway(**BEHIND_A_PROXY, **UNLIMITED, gateway_max_unsent_mb=MEBIBYTES)
    size = len(large_answer(gateway, QUIET).content)
    assert 5 <= size / 2**20 < 6, "two of them, and no third, are what one caller may have"
    head = (
        f"POST /graphql HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {LOUD}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(LARGE)}\r\n\r\n"
    )

    with ExitStack() as stack:
        statuses = []
        for _ in range(10):
            wire = stack.enter_context(RawConnection(gateway.url, buffer=4_096)).send(head.encode(), LARGE)
            # Nothing more is read.
            statuses.append(int(wire.socket.recv(12).removeprefix(b"HTTP/1.1 ")))
        answers = [large_answer(gateway, QUIET) for _ in range(5)]
        small = [ask(gateway, address) for address in (LOUD, QUIET)]

    assert statuses == [200] * 2 + [503] * 8
    assert [(each.status_code, len(each.content)) for each in answers] == [(200, size)] * 5
    assert [each.status_code for each in small] == [200, 200]
    assert gateway.gauge("gateway_limits_reached_total") == 8
