"""The calls that a query would make, found out by answering it from an upstream that only writes down what it is asked.

So the plan is the gateway's own, down to the URL. What the query does not name, the upstream invents: placeholders
such as `{care_unit_id}` stand for whatever Leyr would list, as many of each as the caller thinks there are.
"""

import asyncio
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import orjson
from starlette.applications import Starlette
from starlette.types import Message

from gateway.app import create_app
from gateway.domain.errors import GatewayError
from gateway.domain.ids import NodeId, NodeType, parse_node_id
from gateway.http_client.connection import Response
from gateway.settings import Settings

_PATH = re.compile(r"/emrs/(?P<emr>[^/?]+)/care-units(/(?P<unit>[^/?]+)/(?P<kind>[a-z-]+))?(\?.*)?")
# Whoever plans a query is no client of the gateway's.
_OPEN = {"gateway_auth": "anonymous", "gateway_documents": None, "gateway_documents_only": False}
_NODE_ID = re.compile(r"[A-Za-z0-9+/]{12,}={0,2}")


@dataclass(frozen=True, slots=True)
class Sizes:
    """How many of each to assume where the query does not name them."""

    care_units: int = 1
    resources: int = 1
    healthcare_services: int = 1


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """One kind of call, with how many times it is made."""

    target: str
    count: int


@dataclass(frozen=True, slots=True)
class DryRun:
    """The calls, in the order in which they begin, and the messages of what is wrong with the query."""

    calls: tuple[PlannedCall, ...]
    errors: tuple[str, ...]

    @property
    def total(self) -> int:
        """How many calls there are."""
        return sum(call.count for call in self.calls)


def dry_run(
    settings: Settings, document: str, variables: Mapping[str, Any], operation_name: str | None, sizes: Sizes
) -> DryRun:
    """Answer an operation without leaving the machine. Raises SettingsError."""
    upstream = _Upstream(_named_nodes((document, orjson.dumps(variables).decode())), sizes)
    app = create_app(settings.model_copy(update=_OPEN), connections=lambda *_: upstream)
    body = {"query": document, "variables": dict(variables), "operationName": operation_name}
    answer = asyncio.run(_asked(app, orjson.dumps(body)))
    errors = tuple(str(error["message"]) for error in answer.get("errors", ()))
    counted = Counter(_generic(target) for target in upstream.targets)
    return DryRun(tuple(PlannedCall(target, count) for target, count in counted.items()), errors)


class _Upstream:
    """HttpClient that answer every list with what is named, and with placeholders; nothing is free."""

    def __init__(self, named: Iterable[NodeId], sizes: Sizes) -> None:
        self.targets: list[str] = []
        self._named = tuple(named)
        self._sizes = sizes

    async def get(self, target: str, *, largest: int, within: float = 60.0) -> Response:  # noqa: ARG002 # the seam's
        # In the next turn of the loop, as a real answer would be: what is asked together is planned together.
        await asyncio.sleep(0)
        found = _PATH.fullmatch(target)
        if found is None:
            return Response(404, {}, b"{}")
        self.targets.append(unquote(target))
        emr, unit = unquote(found["emr"]), found["unit"] and unquote(found["unit"])
        return Response(200, {}, orjson.dumps([{"id": each} for each in self._listed(emr, unit, found["kind"])]))

    async def close(self) -> None:
        """Nothing was opened."""

    def _listed(self, emr: str, unit: str | None, kind: str | None) -> Iterator[str]:
        of_emr = [node for node in self._named if node.care_unit.emr == emr]
        match kind:
            case None:
                yield from dict.fromkeys(node.care_unit.care_unit for node in of_emr)
                yield from _placeholders("care_unit_id", self._sizes.care_units)
            case "resources":
                yield from self._within(of_emr, unit, NodeType.RESOURCE)
                yield from _placeholders("resource_id", self._sizes.resources)
            case "healthcare-services":
                yield from self._within(of_emr, unit, NodeType.HEALTHCARE_SERVICE)
                yield from _placeholders("healthcare_service_id", self._sizes.healthcare_services)

    def _within(self, nodes: Iterable[NodeId], unit: str | None, kind: NodeType) -> Iterator[str]:
        return (node.leyr_id for node in nodes if node.type is kind and node.care_unit.care_unit == unit)


def _placeholders(name: str, count: int) -> Iterator[str]:
    return (f"{{{name}}}" if number == 1 else f"{{{name} {number}}}" for number in range(1, count + 1))


def _generic(target: str) -> str:
    """A target whose placeholders all look alike."""
    return re.sub(r"\{(\w+) \d+\}", r"{\1}", target)


def _named_nodes(texts: Iterable[str]) -> Iterator[NodeId]:
    """The node ids that stand in texts."""
    for text in texts:
        for candidate in _NODE_ID.findall(text):
            try:
                yield parse_node_id(candidate)
            except GatewayError:
                continue


async def _asked(app: Starlette, body: bytes) -> dict[str, Any]:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    headers = [(b"content-type", b"application/json"), (b"accept", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
    async with app.router.lifespan_context(app):
        await app(scope, receive, send)
    answer: dict[str, Any] = orjson.loads(b"".join(message.get("body", b"") for message in sent))
    return answer
