"""An ASGI application for tests of the server alone: it answers with what it received."""

import asyncio
import json
from dataclasses import dataclass, field
from threading import Event

from starlette.types import Receive, Scope, Send

PIECE = b"x" * 65_536


@dataclass
class Echo:
    """Answers with what it received, or as the path says.

    `/large` sends many pieces, `/huge` one large one, `/early` answers before it has read the body, `/waiting` waits
    for `released`.
    """

    pieces: int = 320
    called: list[str] = field(default_factory=list)
    broken_off: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    released: Event = field(default_factory=Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        self.called.append(path)
        body = b"" if path == "/early" else await self._body(path, receive)
        if body is not None:
            if path == "/waiting":
                await asyncio.to_thread(self.released.wait)
            await self._answer(scope, body, send)
        self.ended.append(path)

    async def _body(self, path: str, receive: Receive) -> bytes | None:
        body = b""
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.broken_off.append(path)
                return None
            piece: bytes = message["body"]
            body += piece
            if not message["more_body"]:
                return body

    async def _answer(self, scope: Scope, body: bytes, send: Send) -> None:
        told = {
            "method": scope["method"],
            "path": scope["path"],
            "headers": [name.decode("latin-1") for name, _ in scope["headers"]],
            "body": body[:1_000].decode("latin-1"),
            "size": len(body),
        }
        pieces = {"/large": [PIECE] * self.pieces, "/huge": [PIECE * self.pieces]}
        sent = pieces.get(scope["path"], [json.dumps(told).encode()])
        length = str(sum(map(len, sent))).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        for number, piece in enumerate(sent, 1):
            await send({"type": "http.response.body", "body": piece, "more_body": number < len(sent)})
