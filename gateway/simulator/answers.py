"""An answer before it is sent: status, headers and body."""

from dataclasses import dataclass

from starlette.types import Send


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client."""

    body: bytes
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def start(self, *, length: int | None) -> dict[str, object]:
        """Make the ASGI message that opens the answer; without a length it goes out in chunks."""
        headers = [(b"content-type", self.content_type.encode()), *self.headers]
        if length is not None:
            headers.append((b"content-length", str(length).encode()))
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    async def send(self, send: Send) -> None:
        """Send all of it."""
        await send(self.start(length=len(self.body)))
        await send({"type": "http.response.body", "body": self.body})
