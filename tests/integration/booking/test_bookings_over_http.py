"""Bookings with all parts real: the simulator over HTTP, Leyr's client, the journal in a file, and free times.

Two processes are stood for by two services that share the journal's file. The simulator's own list is the judge.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
import structlog
from pydantic import SecretStr

from gateway.booking.booking_secret import BookingSecret
from gateway.booking.bookings import Bookings
from gateway.booking.dependencies import BookingConfig, BookingDependencies
from gateway.booking.requests import BookRequest
from gateway.booking.sqlite_journal import SqliteJournal
from gateway.booking.turns import Turns
from gateway.domain.booking import Booked, BookingFailureReason, BookingResult, Outcome, Refused, Taken, Unknown, Wish
from gateway.domain.ehr_profile import shipped_profile
from gateway.domain.ids import TimeslotId
from gateway.domain.models import CareUnitKey
from gateway.domain.patients import PatientDetails
from gateway.domain.timeslots import instant
from gateway.fetch.booked_times import BookedTimes
from gateway.fetch.cache_budget import CacheBudget, CacheConfig, Lifetimes
from gateway.fetch.catalog import Catalog
from gateway.fetch.profiles import Profiles
from gateway.fetch.snapshots import Snapshots
from gateway.fetch.timeslot_calls import TimeslotCalls
from gateway.http_client.httpx2_client import Httpx2Client
from gateway.leyr.appointments_client import AppointmentsClient
from gateway.leyr.client import LeyrClient, LeyrTransport
from gateway.leyr.resilience import PolicyConfig, PolicyDependencies, UpstreamPolicies
from tests.harness import CLIENT_ID, CLIENT_SECRET, NOW, Simulator

EMR = "webdoc"
UNIT = CareUnitKey(EMR, "L0_1")
SECRET = BookingSecret(b"s" * 32)
# Calls are short here, so that what is lost is settled soon.
CONFIG = BookingConfig(call_seconds=3.0, margin_seconds=3.0, turn_seconds=20.0, wait_seconds=40.0)
NOT_YET = {BookingFailureReason.NOT_SENT, BookingFailureReason.IN_PROGRESS}


@asynccontextmanager
async def services(simulator: Simulator, folder: Path, count: int = 2) -> AsyncIterator[list[Bookings]]:
    began = monotonic()
    async with AsyncExitStack() as stack:
        yield [
            await _service(stack, simulator, folder, lambda: NOW + timedelta(seconds=monotonic() - began))
            for _ in range(count)
        ]


async def _service(stack: AsyncExitStack, simulator: Simulator, folder: Path, now: Callable[[], datetime]) -> Bookings:
    transport = LeyrTransport(f"{simulator.url}/api", CLIENT_ID, SecretStr(CLIENT_SECRET), writes=Httpx2Client)
    await stack.enter_async_context(transport)
    policies = UpstreamPolicies(PolicyConfig(), PolicyDependencies())
    profile = shipped_profile(EMR)
    client = LeyrClient(transport, structlog.get_logger(), policies, now, monotonic)
    keeps = CacheConfig(Lifetimes(15, 15), CacheBudget(1_000_000), monotonic)
    calls = TimeslotCalls(client, Profiles([profile]), Snapshots(keeps), monotonic)
    journal = SqliteJournal(folder / "journal.sqlite", lambda: uuid4().hex, now)
    await stack.enter_async_context(journal)
    backend = AppointmentsClient(transport, policies, now, lambda _: profile.time_zone, CONFIG.call_seconds)
    stack.push_async_callback(backend.close)
    service = Bookings(
        BookingDependencies(
            journal=journal,
            backend=backend,
            free_times=BookedTimes(calls, Catalog(client, keeps), now, monotonic),
            digests=SECRET,
            capabilities=lambda _: profile.capabilities,
            now=now,
            config=CONFIG,
            turns=Turns(journal),
            unlisted=set(),
        )
    )
    stack.push_async_callback(service.close)
    return service


def free_slots(simulator: Simulator) -> list[TimeslotId]:
    window = {"start": NOW.isoformat(), "end": (NOW + timedelta(days=12)).isoformat()}
    rows: list[dict[str, Any]] = simulator.rest(f"/emrs/{EMR}/care-units/L0_1/timeslots", **window)
    found = [
        TimeslotId(UNIT, instant(row["start"]), instant(row["end"]), row["resource_id"], row["healthcare_service_id"])
        for row in rows
    ]
    return sorted(found, key=lambda slot: (slot.start.astimezone(UTC), slot.resource or "", slot.service or ""))


def kept_by_key(simulator: Simulator) -> dict[str, list[dict[str, Any]]]:
    """What the EHR holds, by the digest of the comment, which is the key."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in simulator.http.get("/__appointments").json()["appointments"]:
        found.setdefault(each["comment_sha256"], []).append(each)
    return found


async def until_told(service: Bookings, key: str, asked: BookRequest) -> Outcome:
    """What a client is told that repeats with the same key until it knows."""
    for _ in range(30):
        result: BookingResult = await service.book("page", key, asked)
        outcome = result.outcome
        if isinstance(outcome, Unknown):
            await asyncio.sleep(2)
        elif isinstance(outcome, Refused) and outcome.reason in NOT_YET:
            await asyncio.sleep(0.1)
        else:
            return outcome
    raise AssertionError(f"{key} is never told: {outcome}")


async def test_of_60_clients_of_two_processes_one_has_the_slot(simulator: Simulator, tmp_path: Path) -> None:
    slot = free_slots(simulator)[0]
    simulator.behaviour(EMR, checks_timeslots=False)
    async with services(simulator, tmp_path) as (one, other):
        asked = BookRequest(Wish.all_of([slot]), PatientDetails("Tolvan", "Tolvansson"))
        work = [each.book("page", f"client {number:03} key", asked) for number, each in enumerate([one, other] * 30)]
        outcomes = [each.outcome for each in await asyncio.gather(*work)]

    assert sum(isinstance(each, Booked) for each in outcomes) == 1
    assert sum(isinstance(each, Taken) for each in outcomes) == 59
    assert simulator.count()["book_appointment"] == 1


@pytest.mark.parametrize("write", ["skipped", "done", "late"])
async def test_keys_are_told_the_truth_under_lost_calls(simulator: Simulator, tmp_path: Path, write: str) -> None:
    slots = free_slots(simulator)[:60:4]
    simulator.fault("cut", endpoint="book_appointment", write=write, share=0.4, seed=7, seconds=1.0)
    async with services(simulator, tmp_path) as (one, other):
        work = []
        for number, slot in enumerate(slots):
            key = f"{write} key {number:03} of the page"
            patient = PatientDetails("Tolvan", "Tolvansson")
            asked = BookRequest(Wish.all_of([slot]), patient, key)
            work.append(until_told(one if number % 2 else other, key, asked))
        outcomes = await asyncio.gather(*work)

    kept_by = kept_by_key(simulator)
    for number, outcome in enumerate(outcomes):
        kept = kept_by.get(sha256(f"{write} key {number:03} of the page".encode()).hexdigest(), [])
        ids = [each["id"] for each in kept]
        assert ids == ([outcome.appointment.leyr_id] if isinstance(outcome, Booked) else []), outcome
    assert any(isinstance(each, Booked) for each in outcomes)
