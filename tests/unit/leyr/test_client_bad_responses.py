"""Successful responses that are not the list they should be: invalid, read with little memory, and never retried."""

import asyncio
import gzip
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import structlog
from pydantic import SecretStr

from gateway.domain.errors import UpstreamInvalidAnswer
from gateway.domain.models import CareUnitKey, Resource
from gateway.domain.queries import Step
from gateway.leyr.circuit_breaker import BreakerState
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from tests.unit.http_client.scripted_server import OK, Peer, Script, Server, answering, sized
from tests.unit.leyr.test_client import NOW, WINDOW

UNIT = CareUnitKey("webdoc", "L0_1")
MEBIBYTE = 2**20
GZIPPED = b"content-encoding: gzip"
LISTED = b'[{"id":"1","name":"One","start":"2026-12-01T09:00:00+01:00"}]'
TYPES = b'[{"id":true,"name":"A","start":17},null,[1]]'


def hundred_megabytes(*fields: bytes) -> Script:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(b"\r\n".join([OK[:-2], *fields, b"", b"["]))
        for _ in range(100):
            await peer.send(LISTED[1:-1] + b"," + b" " * MEBIBYTE)

    return script


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


BAD = {
    "a hundred megabytes": hundred_megabytes(),
    "a hundred megabytes of a length": hundred_megabytes(b"content-length: 104857600"),
    "a bomb": answering(sized(gzip.compress(b" " * 100 * MEBIBYTE), GZIPPED)),
    "an encoding that was not asked for": answering(sized(LISTED, b"content-encoding: br")),
    "no compression where it was promised": answering(sized(LISTED, GZIPPED)),
    "compression cut short": answering(sized(gzip.compress(LISTED)[:-9], GZIPPED)),
    "JSON cut short": answering(sized(LISTED[:-1])),
    "lists in lists": answering(sized(nested(20))),
    "lists in endless lists": answering(sized(nested(200_000))),
    "an item with endless lists in it": answering(sized(b'[{"id":"1","x":' + nested(200_000) + b"}]")),
    "objects in objects": answering(sized(b'{"a":' * 20 + b"[]" + b"}" * 20)),
    "HTML": answering(sized(b"<!doctype html><title>Welcome</title>", b"content-type: text/html")),
    "other types": answering(sized(TYPES)),
    "text that is no UTF-8": answering(sized(b'[{"id":"\xff"}]')),
    "a redirect": answering(b"HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n"),
    "a redirect to itself": answering(b"HTTP/1.1 307 Temporary Redirect\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
}


def new_policies() -> UpstreamPolicies:
    return UpstreamPolicies(PolicyConfig(), PolicyDependencies())


@asynccontextmanager
async def client(server: Server, policies: UpstreamPolicies) -> AsyncIterator[LeyrClient]:
    log = structlog.wrap_logger(None, wrapper_class=structlog.make_filtering_bound_logger(50))
    async with LeyrTransport(server.url, "c", SecretStr("s")) as transport, asyncio.timeout(10):
        yield LeyrClient(transport, log, policies, lambda: NOW)


@pytest.mark.parametrize("name", BAD)
async def test_a_bad_response_is_invalid_and_not_retried(name: str) -> None:
    policies = new_policies()
    async with Server(BAD[name]) as server, client(server, policies) as leyr:
        with pytest.raises(UpstreamInvalidAnswer) as lists:
            await leyr.resources(UNIT)
        with pytest.raises(UpstreamInvalidAnswer) as slots:
            await leyr.timeslots(Step(UNIT, WINDOW))

    assert len(server.heads) == 2
    assert not lists.value.retryable
    assert not slots.value.retryable
    found = policies.health()["webdoc"]
    assert (found.breaker, found.in_flight, found.waiting) == (BreakerState.CLOSED, 0, 0)


@pytest.mark.parametrize("name", ["a hundred megabytes", "a bomb"])
async def test_a_response_that_is_too_large_is_not_held_in_memory(name: str) -> None:
    async with Server(BAD[name]) as server, client(server, new_policies()) as leyr:
        tracemalloc.start()
        try:
            with pytest.raises(UpstreamInvalidAnswer, match="larger"):
                await leyr.resources(UNIT)
            # A buffer that grows may be there twice.
            assert tracemalloc.get_traced_memory()[1] < 40 * MEBIBYTE
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("deep", [nested(20), b'{"a":' * 20 + b"1" + b"}" * 20])
async def test_deep_nesting_in_a_field_that_is_not_read_is_accepted(deep: bytes) -> None:
    body = b'[{"id":"1","extra":' + deep + b"}]"
    async with Server(answering(sized(body))) as server, client(server, new_policies()) as leyr:
        assert await leyr.resources(UNIT) == [Resource("1")]


async def test_an_empty_body_is_no_catalogue_list_and_nothing_free() -> None:
    # A proxy's fault would empty the catalogue for minutes; 204 is the way to say that there is nothing.
    async with Server(answering(sized(b""))) as server, client(server, new_policies()) as leyr:
        with pytest.raises(UpstreamInvalidAnswer):
            await leyr.resources(UNIT)
        assert (await leyr.timeslots(Step(UNIT, WINDOW))).slots == ()


async def test_items_with_the_same_id_are_all_passed_on() -> None:
    # Which of them counts is for the catalogue to say.
    body = b'[{"id":"1","name":"One"},{"id":"1","name":"Two"}]'
    async with Server(answering(sized(body))) as server, client(server, new_policies()) as leyr:
        assert await leyr.resources(UNIT) == [Resource("1", name="One"), Resource("1", name="Two")]
