"""A server over real HTTP that answers with what a test sets: an upstream with hostile answers, an issuer's key set."""

from dataclasses import dataclass, field

from starlette.types import Receive, Scope, Send


@dataclass(frozen=True)
class CannedResponse:
    """One response, in JSON unless its headers say otherwise."""

    status: int
    body: bytes
    headers: tuple[tuple[bytes, bytes], ...] = ((b"content-type", b"application/json"),)


@dataclass
class CannedApplication:
    """An ASGI application that gives every request `response`, but those for care units `care_units` if it is set."""

    response: CannedResponse = field(default_factory=lambda: CannedResponse(200, b"[]"))
    care_units: CannedResponse | None = None
    calls: list[str] = field(default_factory=list)
    """The path and the query of each request."""

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        self.calls.append(f"{scope['raw_path'].decode()}?{scope['query_string'].decode()}")
        response = self.response
        if self.care_units is not None and scope["path"].endswith("/care-units"):
            response = self.care_units
        await send({"type": "http.response.start", "status": response.status, "headers": list(response.headers)})
        await send({"type": "http.response.body", "body": response.body})
