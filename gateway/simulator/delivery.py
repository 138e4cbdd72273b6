"""Sending an answer over ASGI, also slowly, endlessly, halfway or not at all."""

import asyncio

from starlette.types import Receive, Send

from gateway.simulator.answers import Answer
from gateway.simulator.faults import Fault
from gateway.simulator.trouble import HUGE_BYTES, troubled

_DROPS = 20
_CHUNK_BYTES = 2**20
_LONGEST_HANG_SECONDS = 600


async def deliver(right: Answer, fault: Fault | None, receive: Receive, send: Send) -> int | None:
    """Send the answer, or what the fault makes of it; give the status that was sent, if any."""
    if fault is None:
        await right.send(send)
        return right.status
    match fault.fault:
        case "hang":
            await _hang(receive)
            return None
        case "cut":
            await _cut(send)
            return None
        case "cut_mid_body":
            await _cut_mid_body(right, send)
        case "drip":
            await _drip(right, fault.seconds, send)
        case "huge_list":
            await _flood(right, send)
        case _:
            if fault.fault == "delay":
                await asyncio.sleep(fault.seconds)
            right = troubled(fault, right)
            await right.send(send)
    return right.status


async def _hang(receive: Receive) -> None:
    try:
        async with asyncio.timeout(_LONGEST_HANG_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return


async def _cut(send: Send) -> None:
    """Close the connection before a single byte of the answer.

    ASGI has no word for this. But a server that was given a header with a line break must refuse it,
    and then can neither send these headers nor a second set, so uvicorn (both of its HTTP parsers)
    closes the connection. A test holds this.
    """
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-simulator-cut", b"\r\n")]}
    try:
        await send(start)
    except Exception:  # noqa: BLE001 # each server and parser refuses with another class
        return


async def _cut_mid_body(right: Answer, send: Send) -> None:
    """Close the connection after half of the promised body; uvicorn logs an unfinished answer."""
    await send(right.start(length=len(right.body) + 1))
    await send({"type": "http.response.body", "body": right.body[: len(right.body) // 2], "more_body": True})


async def _drip(right: Answer, seconds: float, send: Send) -> None:
    await send(right.start(length=len(right.body)))
    size = max(1, -(-len(right.body) // _DROPS))
    for begin in range(0, len(right.body), size):
        await asyncio.sleep(seconds / _DROPS)
        piece = right.body[begin : begin + size]
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def _flood(right: Answer, send: Send) -> None:
    """Send the items of the right list again and again, 64 MiB of them."""
    inside = right.body[right.body.find(b"[") + 1 : right.body.rfind(b"]")] or b'{"id":"1","start":"x"}'
    chunk = (inside + b",") * max(1, _CHUNK_BYTES // len(inside))
    await send(right.start(length=None))
    await send({"type": "http.response.body", "body": b"[", "more_body": True})
    sent = 0
    while sent < HUGE_BYTES:
        await send({"type": "http.response.body", "body": chunk, "more_body": True})
        sent += len(chunk)
    await send({"type": "http.response.body", "body": inside + b"]"})
