"""The plain gateway to compare with: Strawberry, httpx and aiodataloader, put together as tutorials do it.

Well made as far as that goes: one client that keeps its connections, data loaders that live as long as a request,
typed resolvers, and calls that do not need each other made at once. Times of slots pass through as text, since as
`datetime` they cost a fifth more of a long list. It neither sorts slots nor drops those that are told twice, and
keeps Leyr's ids, so it does less than the gateway.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias, cast
from urllib.parse import quote

import httpx
import strawberry
import uvicorn
from aiodataloader import DataLoader
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL

Row: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class SlotQuery:
    """One timeslots call: a care unit, a window, and the resource or service that it is about."""

    care_unit: str
    start: datetime
    end: datetime
    resource_id: str | None = None
    healthcare_service_id: str | None = None

    def params(self) -> dict[str, str]:
        """What the call's query says."""
        given = {
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "resource_id": self.resource_id,
            "healthcare_service_id": self.healthcare_service_id,
        }
        return {name: value for name, value in given.items() if value is not None}


class Leyr:
    """Leyr's REST API, for one EHR."""

    def __init__(self, http: httpx.AsyncClient, emr: str) -> None:
        self._http = http
        self._units = f"/emrs/{emr}/care-units"

    async def care_units(self) -> list[Row]:
        """All care units."""
        return await self._rows(self._units)

    async def resources(self, care_unit: str) -> list[Row]:
        """The resources of a care unit."""
        return await self._rows(f"{self._units}/{quote(care_unit, safe='')}/resources")

    async def healthcare_services(self, care_unit: str) -> list[Row]:
        """The healthcare services of a care unit."""
        return await self._rows(f"{self._units}/{quote(care_unit, safe='')}/healthcare-services")

    async def timeslots(self, query: SlotQuery) -> list[Row]:
        """The free times that a query finds."""
        path = f"{self._units}/{quote(query.care_unit, safe='')}/timeslots"
        return await self._rows(path, query.params())

    async def _rows(self, path: str, params: dict[str, str] | None = None) -> list[Row]:
        response = await self._http.get(path, params=params)
        response.raise_for_status()
        return cast("list[Row]", response.json())


class Context:
    """What the resolvers of one request share."""

    def __init__(self, leyr: Leyr) -> None:
        self.leyr = leyr
        self.resources: DataLoader[str, list[Row]] = _loader(leyr.resources)
        self.healthcare_services: DataLoader[str, list[Row]] = _loader(leyr.healthcare_services)
        self.timeslots: DataLoader[SlotQuery, list[Row]] = _loader(leyr.timeslots)


def _loader(fetch: Callable[[Any], Any]) -> DataLoader[Any, list[Row]]:
    async def batch(keys: list[Any]) -> list[list[Row]]:
        return list(await asyncio.gather(*(fetch(key) for key in keys)))

    return DataLoader(batch)


Info: TypeAlias = strawberry.Info[Context, None]


@strawberry.type
class Timeslot:
    """A free time."""

    start: str
    end: str
    resource_id: strawberry.ID | None
    healthcare_service_id: strawberry.ID | None

    @classmethod
    def of(cls, row: Row) -> "Timeslot":
        """Read what Leyr says."""
        return cls(
            start=row["start"],
            end=row["end"],
            resource_id=row["resource_id"],
            healthcare_service_id=row["healthcare_service_id"],
        )


@strawberry.type
class HealthcareService:
    """A kind of visit."""

    id: strawberry.ID
    name: str


@strawberry.type
class Resource:
    """A person or a room."""

    id: strawberry.ID
    name: str
    care_unit: strawberry.Private[str]

    @strawberry.field
    async def timeslots(self, info: Info, start: datetime, end: datetime) -> list[Timeslot]:
        """Its free times."""
        query = SlotQuery(self.care_unit, start, end, resource_id=self.id)
        return [Timeslot.of(row) for row in await info.context.timeslots.load(query)]


@strawberry.type
class CareUnit:
    """A clinic."""

    id: strawberry.ID
    name: str

    @strawberry.field
    async def resources(self, info: Info) -> list[Resource]:
        """Its people and rooms."""
        rows = await info.context.resources.load(self.id)
        return [Resource(id=row["id"], name=row["name"], care_unit=self.id) for row in rows]

    @strawberry.field
    async def healthcare_services(self, info: Info) -> list[HealthcareService]:
        """Its kinds of visit."""
        rows = await info.context.healthcare_services.load(self.id)
        return [HealthcareService(id=row["id"], name=row["name"]) for row in rows]

    @strawberry.field
    async def timeslots(self, info: Info, start: datetime, end: datetime) -> list[Timeslot]:
        """Its free times."""
        return [Timeslot.of(row) for row in await info.context.timeslots.load(SlotQuery(self.id, start, end))]


@strawberry.type
class Query:
    """The root fields."""

    @strawberry.field
    async def care_units(self, info: Info) -> list[CareUnit]:
        """All care units."""
        return [CareUnit(id=row["id"], name=row["name"]) for row in await info.context.leyr.care_units()]


class Endpoint(GraphQL[Context, None]):
    """GraphQL over HTTP, with a context for each request."""

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        """Make the loaders of one request."""
        del response
        return Context(request.app.state.leyr)


def create_app(base_url: str, client_id: str, client_secret: str, emr: str) -> Starlette:
    """Put it together."""

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        headers = {"x-leyr-client-id": client_id, "x-leyr-client-secret": client_secret}
        async with httpx.AsyncClient(base_url=base_url, headers=headers, timeout=30) as http:
            app.state.leyr = Leyr(http, emr)
            yield

    return Starlette(routes=[Route("/graphql", Endpoint(strawberry.Schema(Query)))], lifespan=lifespan)


def main() -> None:
    """Serve it on a free port, which uvicorn prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("base_url", "client_id", "client_secret", "emr"):
        parser.add_argument(name)
    app = create_app(**vars(parser.parse_args()))
    uvicorn.run(app, port=0, loop="uvloop", http="httptools", access_log=False)


if __name__ == "__main__":
    main()
