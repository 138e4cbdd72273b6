"""Leyr's endpoints, one method each; every request is one of the four route templates here."""

from collections.abc import Awaitable, Sequence
from functools import lru_cache, partial
from http import HTTPStatus
from typing import Self, TypeVar
from urllib.parse import quote

import msgspec
import structlog
from pydantic import SecretStr

from gateway.domain.errors import (
    DeadlineExceeded,
    NotFound,
    Overloaded,
    UpstreamAnswerTooLarge,
    UpstreamInvalidAnswer,
    UpstreamUnavailable,
)
from gateway.domain.ids import is_usable
from gateway.domain.models import CareUnit, CareUnitKey, HealthcareService, Resource, Timeslot
from gateway.domain.pieces import PIECE, InPieces, Pieces
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.http_client.connection import BodyBudgetError, BodyTooLargeError, ContentDecodingError, Response
from gateway.http_client.pool import ConnectionPool, HttpClient, HttpClientFactory, PoolTimeoutError
from gateway.http_client.semaphore import ResizableSemaphore
from gateway.leyr.call_events import AttemptError, CallResult, result_of
from gateway.leyr.decoding import Decoded, ListDecoder
from gateway.leyr.error_mapping import error_for, read_error_envelope
from gateway.leyr.resilience import UpstreamPolicies

T = TypeVar("T", bound=msgspec.Struct)
Read = TypeVar("Read")

_DEFAULT_MAX_BODY_BYTES = 10 * 1024 * 1024
# Clients may name any id, and thousands of long ones would take tens of megabytes.
_LONGEST_CACHED_ID = 64
# A timeslot takes 120 bytes with its times and ids, so a body holds fewer of those that say whose they are.
_MAX_TIMESLOTS = 100_000
# No region has as many clinics, and no clinic as many people; each becomes an object in one go.
_MAX_CATALOG_ITEMS = 10_000
# A body up to this size is read in a few milliseconds.
_LARGE_BODY_BYTES = 256 * 1024
# No request waits as long; the refreshes of many long lists could.
_LARGE_SECONDS = 60.0
ENDPOINTS = ("care_units", "resources", "healthcare_services", "timeslots")
"""The names of LeyrClient's methods, as events carry them."""


class LeyrTransport:
    """Sends reads to Leyr with both credential headers; a context manager that owns the HTTP client."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        connections: HttpClientFactory = ConnectionPool,
        max_body_bytes: int = _DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        # Both credentials go together, and the quickstarts send the content type with reads too (docs page D1).
        headers = {
            "x-leyr-client-id": client_id,
            "x-leyr-client-secret": client_secret.get_secret_value(),
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "leyr-graphql-gateway",
        }
        self._open = partial(connections, base_url.rstrip("/"), headers)
        self._http_client: HttpClient | None = None
        self._max_body_bytes = max_body_bytes

    async def __aenter__(self) -> Self:
        self._http_client = self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._http_client is not None:
            await self._http_client.close()
            self._http_client = None

    async def get(self, target: str, *, timeout_seconds: float) -> Response:
        """Request a percent-encoded path and query below the base URL. Redirects are not followed.

        Raises AttemptError with DeadlineExceeded, UpstreamUnavailable or Overloaded inside, UpstreamAnswerTooLarge, and
        UpstreamInvalidAnswer for a body that cannot be decompressed.
        """
        if self._http_client is None:
            raise RuntimeError("the transport is not open")
        try:
            return await self._http_client.get(target, max_bytes=self._max_body_bytes, timeout_seconds=timeout_seconds)
        except TimeoutError:
            late = DeadlineExceeded("Leyr did not answer in time", retryable=True)
            raise AttemptError(late, CallResult.TIMED_OUT) from None
        except ContentDecodingError:
            raise UpstreamInvalidAnswer("Leyr's answer cannot be decompressed") from None
        except BodyTooLargeError:
            raise UpstreamAnswerTooLarge("Leyr's answer is larger than the gateway reads") from None
        except BodyBudgetError:
            full = Overloaded(
                "Leyr's answers take all the memory that the gateway has for them", retryable=True, retry_after=1.0
            )
            raise AttemptError(full, CallResult.NO_CONNECTION) from None
        except PoolTimeoutError:
            busy = Overloaded("The gateway's connections to Leyr are all in use", retryable=True, retry_after=1.0)
            raise AttemptError(busy, CallResult.NO_CONNECTION) from None
        except OSError:
            # The text may hold the URL, so it is not passed on.
            unreachable = UpstreamUnavailable("Leyr cannot be reached", retryable=True)
            raise AttemptError(unreachable, CallResult.UNREACHABLE) from None


class LeyrClient:
    """Reads care units, resources, healthcare services and timeslots. Every method raises domain errors only.

    The deadline of a call, retries included, is that of its EHR's policy.
    """

    def __init__(
        self, transport: LeyrTransport, log: structlog.typing.FilteringBoundLogger, policies: UpstreamPolicies
    ) -> None:
        self._transport = transport
        self._log = log
        self._policies = policies
        self._care_units = ListDecoder(CareUnit, "id", max_items=_MAX_CATALOG_ITEMS)
        self._resources = ListDecoder(Resource, "id", max_items=_MAX_CATALOG_ITEMS)
        self._services = ListDecoder(HealthcareService, "id", max_items=_MAX_CATALOG_ITEMS)
        self._timeslots = ListDecoder(Timeslot, "start", max_items=_MAX_TIMESLOTS, instants=("start", "end"))
        self._large = ResizableSemaphore(1)

    async def care_units(self, emr: str) -> Sequence[CareUnit]:
        """`GET /emrs/{emr}/care-units`."""
        try:
            return (await self._list(_path(emr), self._care_units, "care_units", emr)).items
        except NotFound as error:
            # The path holds no id that a client sent, so the configuration is wrong, not the request.
            message = "Leyr has no care units under this EHR code"
            raise UpstreamInvalidAnswer(message, reference=error.reference) from None

    async def resources(self, care_unit: CareUnitKey) -> Sequence[Resource]:
        """`GET /emrs/{emr}/care-units/{care_unit_id}/resources`."""
        path = f"{_path(*care_unit)}/resources"
        return (await self._list(path, self._resources, "resources", care_unit.emr)).items

    async def healthcare_services(self, care_unit: CareUnitKey) -> Sequence[HealthcareService]:
        """`GET /emrs/{emr}/care-units/{care_unit_id}/healthcare-services`."""
        path = f"{_path(*care_unit)}/healthcare-services"
        return (await self._list(path, self._services, "healthcare_services", care_unit.emr)).items

    async def timeslots(self, step: Step) -> TimeslotList:
        """`GET /emrs/{emr}/care-units/{care_unit_id}/timeslots`; nothing free is an empty list (leyr-api 6.5)."""
        start, end = _quoted_time(step.window.start.isoformat()), _quoted_time(step.window.end.isoformat())
        target = f"{_path(*step.care_unit)}/timeslots?start={start}&end={end}"
        if step.resource is not None:
            target += f"&resource_id={quote(step.resource, safe='')}"
        if step.service is not None:
            target += f"&healthcare_service_id={quote(step.service, safe='')}"
        decoded = await self._list(target, self._timeslots, "timeslots", step.care_unit.emr)
        found = TimeslotList.in_order(decoded.items, decoded.times, decoded.text_bytes)
        if found is not None:
            return found
        if len(decoded.items) <= PIECE:
            return TimeslotList(decoded.items, times=decoded.times, text_bytes=decoded.text_bytes)
        pieces = TimeslotList.in_pieces(decoded.items, decoded.times, decoded.text_bytes)
        return await self._in_turn(step.care_unit.emr, pieces)

    def _list(self, target: str, decoder: ListDecoder[T], endpoint: str, emr: str) -> Awaitable[Decoded[T]]:
        return self._policies.of(emr).call(endpoint, partial(self._get_list, target, decoder, endpoint, emr))

    async def _get_list(
        self, target: str, decoder: ListDecoder[T], endpoint: str, emr: str, timeout_seconds: float
    ) -> Decoded[T]:
        response = await self._transport.get(target, timeout_seconds=timeout_seconds)
        if not response.is_success:
            if endpoint == "timeslots" and _has_no_timeslots(response):
                return Decoded([])
            error = error_for(response, read_error_envelope(response))
            raise AttemptError(error, result_of(error, response.status))
        decoded = decoder.decode_simply(response.body)
        if decoded is not None:
            return decoded
        if len(response.body) <= _LARGE_BODY_BYTES:
            decoded = decoder.decode(response.body)
        else:
            decoded = await self._in_turn(emr, decoder.decode_in_pieces(response.body))
        if decoded.dropped:
            self._log.warning("upstream.items_dropped", endpoint=endpoint, emr=emr, count=decoded.dropped)
        if decoded.wrapped:
            self._log.warning("upstream.list_wrapped", endpoint=endpoint, emr=emr)
        return decoded

    async def _in_turn(self, emr: str, pieces: Pieces[Read]) -> Read:
        """Work in pieces, on one list at a time: the pieces of many would add up to a long turn of the loop.

        EHRs take turns, so that the long lists of one do not hold up another's. Raises Overloaded.
        """
        if not self._large.try_acquire() and not await self._large.acquire(_LARGE_SECONDS, emr):
            raise Overloaded("The gateway has too many long lists to read", retryable=True, retry_after=1.0)
        try:
            return await InPieces(pieces)
        finally:
            self._large.release()


def _has_no_timeslots(response: Response) -> bool:
    """Whether an error response only says that the list is empty; any other code or detail beside it says more."""
    if response.status != HTTPStatus.BAD_REQUEST:
        return False
    envelope = read_error_envelope(response)
    return envelope.code in {None, "BAD_REQUEST"} and set(envelope.details) == {"NO_TIMESLOTS_AVAILABLE"}


def _path(emr: str, care_unit: str | None = None) -> str:
    """The path of an EHR's care units, or of one of them; each id is one percent-encoded segment."""
    if care_unit is not None and len(care_unit) > _LONGEST_CACHED_ID:
        return _encoded_path(emr, care_unit)
    return _cached_path(emr, care_unit)


def _encoded_path(emr: str, care_unit: str | None) -> str:
    path = f"/emrs/{quote(emr, safe='')}/care-units"
    if care_unit is None:
        return path
    if not is_usable(care_unit):
        raise UpstreamInvalidAnswer("Leyr gave this care unit an id that cannot stand in a URL")
    return f"{path}/{quote(care_unit, safe='')}"


# A gateway asks about the same few care units all day.
_cached_path = lru_cache(maxsize=4_096)(_encoded_path)


# One window is asked of many care units at a time.
@lru_cache(maxsize=1_024)
def _quoted_time(text: str) -> str:
    return quote(text, safe="")
