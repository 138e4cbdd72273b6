"""An upstream of two EHRs: a calm one, and one whose lists are as long, deep, disordered or broken as a `Manner` says.

    python -m benchmarks.hostile_upstream '{"timeslots": 90000}'

Lists are made before the port is printed, so that nothing is waited for but the gateway. Calls are counted at
`/__calls`.
"""

import asyncio
import json
import socket
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from functools import cached_property
from random import Random
from typing import Any, Literal, NamedTuple
from urllib.parse import parse_qs

import orjson
import uvloop

from benchmarks.get_requests import HEAD_END, GetRequests

CALM_EMR = "physica"
_DAYS = 29
_DEEP = 100_000
_SEED = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Manner:
    """What each list of an EHR holds, and how its calls end.

    `timeslots` are those of one care unit in 29 days from tomorrow; each has an `end` if `ends`, and the ids of a
    resource and a service if `names`. `offsets` is the number of UTC offsets that their times are written with.
    `resources_as` says whether resources have names of `name_bytes` at least, are ids alone, or hold
    arrays nested 100,000 deep. `failing` are the endpoints that answer 500. `seconds` is how long each call takes.
    """

    care_units: int = 1
    resources: int = 3
    services: int = 3
    timeslots: int = 60
    ends: bool = False
    names: bool = True
    offsets: int = 1
    order: Literal["sorted", "random"] = "sorted"
    resources_as: Literal["items", "ids", "deep"] = "items"
    name_bytes: int = 0
    failing: Sequence[str] = ()
    seconds: float = 0.0

    def scaled(self, factor: float) -> "Manner":
        """The same with `factor` times the resources, slots and bytes, one resource and one slot at least."""
        return replace(
            self,
            resources=max(1, int(self.resources * factor)),
            timeslots=max(1, int(self.timeslots * factor)),
            name_bytes=int(self.name_bytes * factor),
        )

    def as_argument(self) -> str:
        """The JSON that the command takes."""
        return json.dumps(asdict(self))


class _Slot(NamedTuple):
    """A timeslot: its Unix time, its resource and service, and its JSON."""

    at: float
    resource: str
    service: str
    text: bytes


class Ehr:
    """The lists of one EHR, the same for each of its care units."""

    def __init__(self, manner: Manner, today: datetime) -> None:
        """`today` is the midnight before the day whose slots are first."""
        self.manner = manner
        self._today = today

    def prepare(self) -> "Ehr":
        """Make the lists now rather than at the first call."""
        self.lists["resources"]
        self._slots  # noqa: B018 # a cached property
        return self

    @cached_property
    def lists(self) -> dict[str, bytes]:
        """The bodies of the lists that are the same for every call, by endpoint."""
        manner = self.manner
        return {
            "care-units": _listed([self._item("u", number) for number in range(manner.care_units)]),
            "resources": _listed([self._resource(number) for number in range(manner.resources)]),
            "healthcare-services": _listed([self._item("s", number) for number in range(manner.services)]),
        }

    @cached_property
    def _slots(self) -> list[_Slot]:
        manner = self.manner
        zones = [timezone(timedelta(hours=number)) for number in range(manner.offsets)]
        step = timedelta(days=_DAYS) / manner.timeslots
        slots = [
            self._slot(number, self._today + timedelta(days=1) + number * step, zones)
            for number in range(manner.timeslots)
        ]
        if manner.order == "random":
            Random(_SEED).shuffle(slots)  # noqa: S311 # an order, no secret
        return slots

    def timeslots(self, query: str) -> bytes:
        """The body for a call's parameters: a window, and perhaps a resource and a service."""
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        start, end = (datetime.fromisoformat(asked[name]).timestamp() for name in ("start", "end"))
        resource, service = asked.get("resource_id"), asked.get("healthcare_service_id")
        return _listed([
            each.text
            for each in self._slots
            if start <= each.at < end
            and (resource is None or each.resource == resource)
            and (service is None or each.service == service)
        ])  # fmt: skip

    def _slot(self, number: int, start: datetime, zones: Sequence[timezone]) -> _Slot:
        manner = self.manner
        local = start.replace(microsecond=0).astimezone(zones[number % len(zones)])
        resource, service = f"r{number % manner.resources}", f"s{number % manner.services}"
        text = f'{{"start":"{local.isoformat()}"'
        if manner.ends:
            text += f',"end":"{(local + timedelta(minutes=20)).isoformat()}"'
        if manner.names:
            text += f',"resource_id":"{resource}","healthcare_service_id":"{service}"'
        return _Slot(local.timestamp(), resource, service, f"{text}}}".encode())

    def _item(self, letter: str, number: int) -> bytes:
        return orjson.dumps({"id": f"{letter}{number}", "emr_id": str(number), "name": f"Name {letter}{number}"})

    def _resource(self, number: int) -> bytes:
        if self.manner.resources_as == "ids":
            return b'{"id":"r%d"}' % number
        if self.manner.resources_as == "deep":
            return b'{"id":"r%d","deep":%b%b}' % (number, b"[" * _DEEP, b"]" * _DEEP)
        name = f"Name r{number}".ljust(self.manner.name_bytes, "n")
        return orjson.dumps({"id": f"r{number}", "emr_id": str(number), "name": name})


class Upstream:
    """Answers calls of two EHRs, the hostile one by whatever code it is asked, and counts them by endpoint."""

    def __init__(self, hostile: Ehr, calm: Ehr) -> None:
        self._hostile = hostile
        self._calm = calm
        self._calls: Counter[str] = Counter()

    def answer(self, target: str) -> tuple[float, int, bytes]:
        """The seconds to wait, the status and the body for a request's target."""
        path, _, query = target.partition("?")
        if path == "/__calls":
            return 0.0, 200, orjson.dumps({"total": self._calls.total(), "by_endpoint": self._calls})
        ehr = self._calm if f"/emrs/{CALM_EMR}/" in path else self._hostile
        endpoint = path.rpartition("/")[2]
        self._calls[endpoint] += 1
        if endpoint in ehr.manner.failing:
            return ehr.manner.seconds, 500, b'{"code":"UNKNOWN_ERROR"}'
        body = ehr.timeslots(query) if endpoint == "timeslots" else ehr.lists[endpoint]
        return ehr.manner.seconds, 200, body


class Connection(GetRequests):
    """Answers after as long as the manner of the EHR says."""

    def __init__(self, upstream: Upstream) -> None:
        super().__init__()
        self._upstream = upstream

    def respond(self, request: bytes) -> None:
        """Answer later."""
        seconds, status, body = self._upstream.answer(request.split(b" ", 2)[1].decode("latin-1"))
        head = b"HTTP/1.1 %d -\r\ncontent-type: application/json\r\ncontent-length: %d" % (status, len(body))
        asyncio.get_running_loop().call_later(seconds, self.transport.write, head + HEAD_END + body)


def _listed(items: Sequence[bytes]) -> bytes:
    return b"[%b]" % b",".join(items)


async def serve(upstream: Upstream, bound: socket.socket) -> None:
    """Serve until the process is ended."""
    server = await asyncio.get_running_loop().create_server(lambda: Connection(upstream), sock=bound)
    print(f"Listening on http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    await server.serve_forever()


def main(arguments: Sequence[str]) -> None:
    """Serve on a free port of the loopback interface, and print which."""
    given: dict[str, Any] = json.loads(arguments[0])
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    upstream = Upstream(Ehr(Manner(**given), today).prepare(), Ehr(Manner(), today).prepare())
    with socket.create_server(("127.0.0.1", 0), backlog=512) as bound:
        uvloop.run(serve(upstream, bound))


if __name__ == "__main__":
    main(sys.argv[1:])
