"""The HTTP clients, as the settings want them: the own pool for reads that go straight to Leyr, httpx2 for all else."""

from collections.abc import Mapping
from functools import partial

from gateway.http_client.connector import ConnectConfig
from gateway.http_client.pool import ConnectionPool, HttpClient, HttpClientFactory, WholeClient
from gateway.leyr.client import LeyrTransport
from gateway.settings import Settings

_MEBIBYTE = 1024 * 1024


def leyr_transport(settings: Settings, connections: HttpClientFactory | None) -> LeyrTransport:
    """How Leyr is reached: `connections` replaces all HTTP clients."""
    return LeyrTransport(
        settings.leyr_base_url,
        *settings.credentials(),
        connections=connections or partial(_leyr_client, settings),
        writes=None if connections else partial(httpx2_client, settings, http2=settings.leyr_http2),
        max_body_bytes=settings.gateway_max_upstream_mb * _MEBIBYTE,
    )


def _leyr_client(settings: Settings, base_url: str, headers: Mapping[str, str]) -> HttpClient:
    """The HTTP client for a base URL: the own pool, which is the fastest, unless it cannot be reached so."""
    if settings.leyr_http2 or settings.proxy_for(base_url) is not None:
        return httpx2_client(settings, base_url, headers, http2=settings.leyr_http2)
    return ConnectionPool(base_url, headers, connecting=_connecting(settings))


def httpx2_client(settings: Settings, base_url: str, headers: Mapping[str, str], *, http2: bool = False) -> WholeClient:
    """httpx2's client, for writes, proxies and the keys of tokens."""
    # It takes three megabytes and some start time, which most processes spare.
    from gateway.http_client.httpx2_client import Httpx2Client  # noqa: PLC0415 # as said above

    proxy, connecting = settings.proxy_for(base_url), _connecting(settings)
    return Httpx2Client(base_url, headers, proxy=proxy, http2=http2, connecting=connecting)


def _connecting(settings: Settings) -> ConnectConfig:
    return ConnectConfig(
        settings.gateway_lookup_seconds, settings.gateway_connect_seconds, settings.gateway_tls_seconds
    )
