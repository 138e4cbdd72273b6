"""Who may come in, and how often."""

from collections.abc import Iterable, Mapping

from gateway.domain.errors import GatewayError, Unauthenticated
from gateway.http.callers.caller import Caller, Callers
from gateway.http.callers.rates import RateLimits
from gateway.http.refusals import refused

_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})
_VARY = b"accept, accept-encoding, x-gateway-explain"


class Doorkeeper:
    """Tells callers apart and counts their requests; without `callers` everyone may come in."""

    def __init__(self, callers: Callers | None, rates: RateLimits) -> None:
        self._callers = callers
        self._rates = rates
        self.vary = _VARY if callers is None else _VARY + b", authorization, x-api-key"

    async def caller(self, raw: Iterable[tuple[bytes, bytes]], headers: Mapping[bytes, str]) -> Caller | None:
        """Who sends a request; None for nobody in particular. Raises RequestRefusedError.

        `raw` are the headers as they came: one that comes twice could be one caller's here and another's elsewhere.
        """
        if self._callers is None:
            return None
        credentials = [name for name, _ in raw if name in _CREDENTIALS]
        if len(credentials) > len(set(credentials)):
            raise refused(Unauthenticated("A credential is sent twice; send one"))
        try:
            return await self._callers.identify(headers)
        except GatewayError as error:
            raise refused(error) from None

    def count(self, caller: Caller) -> None:
        """Count a request of a caller. Raises RequestRefusedError where it sends too many."""
        try:
            self._rates.take(caller)
        except GatewayError as error:
            raise refused(error) from None

    async def close(self) -> None:
        """Give back what is held open."""
        if self._callers is not None:
            await self._callers.close()
