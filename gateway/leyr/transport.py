"""How a read goes to Leyr: credentials, the time that it may take, and the largest body."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from pydantic import SecretStr

from gateway.domain.errors import DeadlineExceeded, Overloaded, UpstreamInvalidAnswer, UpstreamUnavailable
from gateway.leyr.connections import Connections, MakeConnections, NoConnectionFreeError, PooledConnections
from gateway.leyr.exchange import OversizedBodyError, UnreadableBodyError
from gateway.leyr.outcomes import AttemptError, Outcome

_LARGEST_BODY = 10 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back: status, body, and how many seconds to wait where the upstream said so."""

    status: int
    body: bytes | bytearray
    retry_after: float | None = None

    @property
    def ok(self) -> bool:
        """Whether the status is any of 2xx; which ones Leyr uses is unknown (leyr-api 2.1)."""
        return 200 <= self.status < 300  # noqa: PLR2004 # the bounds of HTTP's success class


class LeyrTransport:
    """Sends reads to Leyr with both credential headers; owns the connections until it is closed."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        connections: MakeConnections = PooledConnections,
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._client_id = client_id
        self._client_secret = client_secret
        self._make_connections = connections
        self._connections: Connections | None = None

    async def __aenter__(self) -> Self:
        # Both credentials go together, and the quickstarts send the content type with reads too (docs page D1).
        self._connections = self._make_connections(
            self._base_url,
            {
                "x-leyr-client-id": self._client_id,
                "x-leyr-client-secret": self._client_secret.get_secret_value(),
                "content-type": "application/json",
                "accept": "application/json",
                "user-agent": "leyr-graphql-gateway",
            },
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._connections is not None:
            await self._connections.close()
            self._connections = None

    async def get(self, target: str, *, within: float) -> Answer:
        """Read a percent-encoded path and query below the base URL, within so many seconds. Redirects are not followed.

        Raises AttemptError with DeadlineExceeded, UpstreamUnavailable or Overloaded inside, and UpstreamInvalidAnswer
        for a body that is too large or cannot be decompressed.
        """
        if self._connections is None:
            raise RuntimeError("the transport is not open")
        try:
            reply = await self._connections.get(target, largest=_LARGEST_BODY, within=within)
        except TimeoutError:
            late = DeadlineExceeded("Leyr did not answer in time", retryable=True)
            raise AttemptError(late, Outcome.TIMED_OUT) from None
        except UnreadableBodyError:
            raise UpstreamInvalidAnswer("Leyr's answer cannot be decompressed") from None
        except OversizedBodyError:
            raise UpstreamInvalidAnswer("Leyr's answer is larger than the gateway reads") from None
        except NoConnectionFreeError:
            busy = Overloaded("The gateway's connections to Leyr are all in use", retryable=True, retry_after=1.0)
            raise AttemptError(busy, Outcome.NO_CONNECTION) from None
        except OSError:
            # The text may hold the URL, so it is left behind.
            gone = UpstreamUnavailable("Leyr cannot be reached", retryable=True)
            raise AttemptError(gone, Outcome.UNREACHABLE) from None
        return Answer(reply.status, reply.body, _seconds(reply.headers.get("retry-after")))


def _seconds(retry_after: str | None) -> float | None:
    """The header's delay; its date form is left alone, since it depends on the upstream's clock."""
    if retry_after is None or not retry_after.isascii() or not retry_after.isdigit():
        return None
    return min(float(retry_after), 3600.0)
