"""A Leyr over real HTTP whose every answer tells when its call arrived: each slot's end is a running version."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs

from starlette.types import Receive, Scope, Send

RESOURCES, SERVICES = ("r1", "r2", "r3"), ("s1", "s2")
START = datetime(2026, 10, 13, 6, tzinfo=UTC)


@dataclass(frozen=True)
class OwnedSlot:
    """A free time, with what it names; filters find only what a slot names."""

    start: datetime
    resource: str | None
    service: str | None


def _every_slot() -> set[OwnedSlot]:
    starts = [START + timedelta(hours=12 * number) for number in range(6)]
    return {OwnedSlot(start, resource, service) for start in starts for resource in RESOURCES for service in SERVICES}


@dataclass
class VersionedLeyr:
    """An ASGI application with one care unit; `free` may change at any time.

    Calls without a filter are refused where `wants_filter`. Answers are of the moment when a call arrives, reach
    `spill` beyond its window, and are sent `delay` seconds later.
    """

    free: set[OwnedSlot] = field(default_factory=_every_slot)
    wants_filter: bool = False
    spill: timedelta = timedelta(0)
    delay: Callable[[], float] = lambda: 0.0
    version: int = 0
    queries: list[str] = field(default_factory=list)

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        status, found = 200, self._found(scope)
        if found is None:
            status, found = 400, {"code": "BAD_REQUEST", "errors": [{"error_code": "MISSING_REQUIRED_FIELD"}]}
        delay = self.delay()
        if delay:
            await asyncio.sleep(delay)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": json.dumps(found).encode()})

    def _found(self, scope: Scope) -> object:
        match scope["path"].rsplit("/", 1)[-1]:
            case "care-units":
                return [{"id": "u1", "name": "Unit"}]
            case "resources":
                return [{"id": each, "name": each} for each in RESOURCES]
            case "healthcare-services":
                return [{"id": each, "name": each} for each in SERVICES]
            case _:
                return self._timeslots(scope["query_string"].decode())

    def _timeslots(self, query: str) -> object:
        self.queries.append(query)
        self.version += 1
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        resource, service = asked.get("resource_id"), asked.get("healthcare_service_id")
        if self.wants_filter and resource is None and service is None:
            return None
        first = datetime.fromisoformat(asked["start"]) - self.spill
        last = datetime.fromisoformat(asked["end"]) + self.spill
        return [
            {
                "start": slot.start.isoformat(),
                "end": (slot.start + timedelta(seconds=self.version)).isoformat(),
                "resource_id": slot.resource,
                "healthcare_service_id": slot.service,
            }
            for slot in self.free
            if first <= slot.start < last and resource in {None, slot.resource} and service in {None, slot.service}
        ]
