"""The join by hand to compare with: no GraphQL, two fixed answers, written to be quick.

What a team would write that needs just these two answers: the care units, then everything else at once, read and
written by orjson over aiohttp. Free times under each resource are one call a care unit, shared out by resource. It
neither sorts slots nor drops those that are told twice, and keeps Leyr's ids.
"""

import argparse
import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import aiohttp
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from yarl import URL

Row: TypeAlias = dict[str, Any]
Join: TypeAlias = Callable[[Row, str], Coroutine[Any, Any, Row]]
"""Makes the answer for one care unit, given the query string of its timeslots call."""


class Joiner:
    """Two views of an EHR's care units, each joined from as few calls as will do."""

    def __init__(self, http: aiohttp.ClientSession, base_url: str, emr: str) -> None:
        self._http = http
        self._units = f"{base_url}/emrs/{emr}/care-units"

    async def care_units(self, join: Join, window: str) -> list[Row]:
        """All care units, each joined by `join`."""
        return list(await asyncio.gather(*(join(unit, window) for unit in await self._rows(""))))

    async def whole(self, unit: Row, window: str) -> Row:
        """A care unit with its resources, healthcare services and timeslots."""
        path = f"/{quote(unit['id'], safe='')}"
        resources, services, slots = await asyncio.gather(
            self._rows(f"{path}/resources"),
            self._rows(f"{path}/healthcare-services"),
            self._rows(f"{path}/timeslots?{window}"),
        )
        return _named(unit) | {
            "resources": [_named(row) for row in resources],
            "healthcareServices": [_named(row) for row in services],
            "timeslots": [_slot(row) for row in slots],
        }

    async def by_resource(self, unit: Row, window: str) -> Row:
        """A care unit with its resources, and the timeslots of each."""
        path = f"/{quote(unit['id'], safe='')}"
        resources, slots = await asyncio.gather(
            self._rows(f"{path}/resources"), self._rows(f"{path}/timeslots?{window}")
        )
        owned = defaultdict(list)
        for row in slots:
            owned[row["resource_id"]].append(_slot(row))
        return _named(unit) | {
            "resources": [_named(row) | {"timeslots": owned.get(row["id"], [])} for row in resources]
        }

    async def _rows(self, path: str) -> list[Row]:
        async with self._http.get(URL(self._units + path, encoded=True)) as response:
            response.raise_for_status()
            return cast("list[Row]", orjson.loads(await response.read()))


def _named(row: Row) -> Row:
    return {"id": row["id"], "name": row["name"]}


def _slot(row: Row) -> Row:
    return {
        "start": row["start"],
        "end": row["end"],
        "resourceId": row["resource_id"],
        "healthcareServiceId": row["healthcare_service_id"],
    }


def create_app(base_url: str, client_id: str, client_secret: str, emr: str) -> Starlette:
    """Put it together; the query string of a request is passed on as it is."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        headers = {"x-leyr-client-id": client_id, "x-leyr-client-secret": client_secret}
        async with aiohttp.ClientSession(headers=headers) as http:
            app.state.joiner = Joiner(http, base_url, emr)
            yield

    async def whole(request: Request) -> Response:
        joiner: Joiner = request.app.state.joiner
        return _answer(await joiner.care_units(joiner.whole, request.url.query))

    async def by_resource(request: Request) -> Response:
        joiner: Joiner = request.app.state.joiner
        return _answer(await joiner.care_units(joiner.by_resource, request.url.query))

    return Starlette(routes=[Route("/whole", whole), Route("/by-resource", by_resource)], lifespan=lifespan)


def _answer(units: list[Row]) -> Response:
    return Response(orjson.dumps({"data": {"careUnits": units}}), media_type="application/json")


def main() -> None:
    """Serve it on a free port, which uvicorn prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("base_url", "client_id", "client_secret", "emr"):
        parser.add_argument(name)
    app = create_app(**vars(parser.parse_args()))
    uvicorn.run(app, port=0, loop="uvloop", http="httptools", access_log=False)


if __name__ == "__main__":
    main()
