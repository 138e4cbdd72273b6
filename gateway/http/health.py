"""The probes `/livez` and `/readyz`: whether the process runs, and whether it should get requests."""

from collections.abc import Awaitable, Callable, Iterable, Mapping

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from gateway.leyr.resilience import UpstreamHealth

_NO_STORE = {"cache-control": "no-store"}


async def livez(_: Request) -> Response:
    """Answer that the process runs."""
    return JSONResponse({"status": "alive"}, headers=_NO_STORE)


def readyz(
    is_stopping: Callable[[], bool],
    emrs: Iterable[str] = (),
    health: Callable[[], Mapping[str, UpstreamHealth]] = dict,
    refresh: Callable[[], Awaitable[None]] | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """Make the handler of `/readyz`: it answers 200 until the server is told to stop, then 503.

    It reports the health of each of these EHRs, which does not affect the status: another gateway would reach no more
    of them. `refresh` is awaited before.
    """

    async def handle(_: Request) -> Response:
        if refresh is not None:
            await refresh()
        answer: dict[str, object] = {"status": "stopping" if is_stopping() else "ready"}
        if emrs:
            found = health()
            answer["emrs"] = {emr: _report(found[emr]) if emr in found else {"breaker": "closed"} for emr in emrs}
        return JSONResponse(answer, 503 if is_stopping() else 200, _NO_STORE)

    return handle


def _report(health: UpstreamHealth) -> dict[str, object]:
    report: dict[str, object] = {"breaker": health.breaker.value}
    if health.retry_after is not None:
        report["retryAfter"] = round(health.retry_after, 1)
    if health.failure is not None:
        report["unreachable"] = health.failure.value
    return report
