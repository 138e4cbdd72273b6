"""`/livez` and `/readyz`: whether the process runs, and whether it should get requests."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.leyr.resilience import UpstreamHealth

_NOT_KEPT = {"cache-control": "no-store"}


async def livez(_: Request) -> Response:
    """The process answers."""
    return JSONResponse({"status": "alive"}, headers=_NOT_KEPT)


def readyz(
    emrs: Iterable[str], conditions: Callable[[], Mapping[str, UpstreamHealth]], is_stopping: Callable[[], bool]
) -> Callable[[Request], Awaitable[Response]]:
    """Ready until the server is told to stop, then 503; how each EHR does is told, and makes nothing unready.

    A sick EHR is no reason to send requests for the others elsewhere, where it is just as sick.
    """

    async def handle(_: Request) -> Response:
        found = conditions()
        told = {emr: _told(found[emr]) if emr in found else {"breaker": "closed"} for emr in emrs}
        if is_stopping():
            return JSONResponse({"status": "stopping", "emrs": told}, status_code=503, headers=_NOT_KEPT)
        return JSONResponse({"status": "ready", "emrs": told}, headers=_NOT_KEPT)

    return handle


def _told(condition: UpstreamHealth) -> dict[str, object]:
    told: dict[str, object] = {"breaker": condition.breaker.value}
    if condition.retry_after is not None:
        told["retryAfter"] = round(condition.retry_after, 1)
    return told
