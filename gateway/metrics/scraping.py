"""`/metrics`: what Prometheus scrapes, on a port of its own."""

from prometheus_client.exposition import choose_encoder
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp

from gateway.metrics.metrics import Metrics

_OPEN_METRICS = "application/openmetrics-text"
_NOT_KEPT = {"cache-control": "no-store"}


def metrics_app(metrics: Metrics) -> ASGIApp:
    """An ASGI application that answers GET and HEAD of `/metrics`, in OpenMetrics where the client takes it."""

    async def scraped(request: Request) -> Response:
        # The library would repeat the version that a client names, or fail where it is none.
        encode, media_type = choose_encoder(f"{_OPEN_METRICS};version=1.0.0" if _takes_open_metrics(request) else "")
        return Response(encode(metrics.registry), headers={"content-type": media_type, **_NOT_KEPT})

    # A redirect would be built from the Host header, which is the client's to choose.
    return Router([Route("/metrics", scraped)], redirect_slashes=False)


def _takes_open_metrics(request: Request) -> bool:
    ranges = ",".join(request.headers.getlist("accept")).lower().split(",")
    return any(_takes(each) for each in ranges)


def _takes(media_range: str) -> bool:
    """Whether one range of an Accept header is OpenMetrics in a version that is spoken here."""
    kind, *parameters = (part.strip() for part in media_range.split(";"))
    named = dict(parameter.partition("=")[::2] for parameter in parameters)
    is_refused = not named.get("q", "1").strip("0.")
    return kind == _OPEN_METRICS and not is_refused and named.get("version", "1.0.0") == "1.0.0"
