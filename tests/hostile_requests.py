"""Hostile requests of the standstill benchmark, sent in one process whose steps are counted."""

import asyncio
import json
import re
from datetime import UTC, datetime, time
from typing import Any, NamedTuple

from starlette.types import Message

from benchmarks.hostile_upstream import CALM_EMR, Ehr, Manner, Upstream
from benchmarks.standstill_kinds import Kind, kinds
from gateway.app import create_app
from gateway.http_client.connection import Response
from gateway.settings import Settings
from tests.harness import NOW, PATIENT, TODAY, leyr_settings
from tests.steps import Steps, run_counted

MIDNIGHT = datetime.combine(TODAY, time(), UTC)
KINDS = {kind.name: kind for kind in kinds(MIDNIGHT)}
_MAX_ERRORS_BYTES = 64 * 1024


class Answered(NamedTuple):
    """The status and the body of an answer, and the steps of the event loop that it took."""

    status: int
    body: bytes
    steps: Steps

    @property
    def codes(self) -> set[str]:
        """The error codes, unless it is compressed."""
        return {code.decode() for code in re.findall(rb'"code":"([A-Z_]+)"', self.body[-_MAX_ERRORS_BYTES:])}


class UpstreamClient:
    """HttpClient that calls a hostile upstream without a socket; each answer comes in a later turn of the loop."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def get(self, target: str, *, max_bytes: int, timeout_seconds: float = 60.0) -> Response:  # noqa: ARG002 # HttpClient's signature
        await asyncio.sleep(0)
        _, status, body = self._upstream.answer(target)
        return Response(status, {}, body)

    async def close(self) -> None:
        """Nothing was opened."""


def answered(kind: Kind) -> Answered:
    """Send a kind's request once to a gateway of its own, with settings as shipped but for the time it may take."""
    upstream = Upstream(Ehr(kind.manner, MIDNIGHT).prepare(), Ehr(Manner(), MIDNIGHT).prepare())
    given: dict[str, Any] = {
        **leyr_settings("https://upstream", (kind.emr, CALM_EMR)),
        **PATIENT,
        **{name.lower(): value for name, value in kind.settings.items()},
    }
    app = create_app(Settings(**given), now=lambda: NOW, connections=lambda *_: UpstreamClient(upstream))
    messages = [json.dumps({"query": kind.document, "variables": dict(kind.variables)}).encode()]
    sent: list[Message] = []

    async def receive() -> Message:
        if not messages:
            # The client stays, and sends nothing more.
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": messages.pop(), "more_body": False}

    async def send(message: Message) -> None:
        sent.append(message)

    async def ask(_: Steps) -> None:
        headers = [tuple(header.encode().split(b": ")) for header in ("content-type: application/json", *kind.headers)]
        scope = {"type": "http", "method": "POST", "path": "/graphql", "query_string": b"", "headers": headers}
        async with app.router.lifespan_context(app):
            await app(scope, receive, send)

    _, steps = run_counted(ask)
    return Answered(sent[0]["status"], b"".join(message["body"] for message in sent[1:]), steps)
