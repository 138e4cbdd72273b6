"""Leyr's endpoints, one method each; every request is one of the four route templates here."""

from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache, partial
from http import HTTPStatus
from time import monotonic
from typing import Generic, Self, TypeVar
from urllib.parse import quote

import msgspec
import structlog
from pydantic import SecretStr

from gateway.domain.call_count import FURTHER_CALLS
from gateway.domain.errors import (
    DeadlineExceeded,
    NotFound,
    NotSupported,
    Overloaded,
    UpstreamAnswerTooLarge,
    UpstreamInvalidAnswer,
    UpstreamRefused,
    UpstreamUnavailable,
)
from gateway.domain.ids import is_usable
from gateway.domain.models import CareUnit, CareUnitKey, CatalogItem, HealthcareService, Items, Resource, Timeslot
from gateway.domain.pieces import PIECE, InPieces, Pieces, whole
from gateway.domain.queries import Step
from gateway.domain.timeslots import TimeslotList
from gateway.http_client.connection import BodyBudgetError, BodyTooLargeError, NotSentError, Response
from gateway.http_client.content_encoding import ContentDecodingError
from gateway.http_client.failures import kind_of
from gateway.http_client.pool import ConnectionPool, HttpClient, HttpClientFactory, PoolTimeoutError, WritingClient
from gateway.http_client.semaphore import ResizableSemaphore
from gateway.leyr.call_events import AttemptError, CallResult, result_of
from gateway.leyr.decoding import Decoded, ListDecoder
from gateway.leyr.error_mapping import error_for, read_error_envelope
from gateway.leyr.paging import NO_PAGING, Page, Pages, paging_of
from gateway.leyr.resilience import UpstreamPolicies

T = TypeVar("T", bound=msgspec.Struct)
Item = TypeVar("Item", bound=CatalogItem)
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
WRITES = ("book_appointment", "change_appointment", "create_patient")
"""The names of what is sent once, as events carry them."""
ENDPOINTS = ("care_units", "resources", "healthcare_services", "timeslots", "appointments", *WRITES)
"""The names of LeyrClient's methods, of AppointmentsClient's list, and of what writes, as events carry them."""


class LeyrTransport:
    """Sends reads to Leyr with both credential headers; a context manager that owns the HTTP client."""

    def __init__(
        self,
        base_url: str,
        client_id: str,
        client_secret: SecretStr,
        *,
        connections: HttpClientFactory = ConnectionPool,
        writes: Callable[[str, Mapping[str, str]], WritingClient] | None = None,
        max_body_bytes: int = _DEFAULT_MAX_BODY_BYTES,
    ) -> None:
        """`writes` makes the client for what is to be changed, when something is for the first time."""
        # Both credentials go together, and the quickstarts send the content type with reads too (docs page D1).
        headers = {
            "x-leyr-client-id": client_id,
            "x-leyr-client-secret": client_secret.get_secret_value(),
            "content-type": "application/json",
            "accept": "application/json",
            "user-agent": "leyr-graphql-gateway",
        }
        self.base_url = base_url.rstrip("/")
        """What precedes the target of each request."""
        self._open = partial(connections, self.base_url, headers)
        self._open_writing = None if writes is None else partial(writes, self.base_url, headers)
        self._http_client: HttpClient | None = None
        self._writing_client: WritingClient | None = None
        self.max_body_bytes = max_body_bytes

    async def __aenter__(self) -> Self:
        self._http_client = self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        opened, self._http_client, self._writing_client = (self._http_client, self._writing_client), None, None
        for each in opened:
            if each is not None:
                await each.close()

    async def send(self, method: str, target: str, body: bytes, *, timeout_seconds: float) -> Response:
        """Send a body once to a percent-encoded path below the base URL.

        Raises AttemptError, with NO_CONNECTION or UNREACHABLE inside where nothing of it has left, and with another
        result where it may have.
        """
        if self._http_client is None or self._open_writing is None:
            raise RuntimeError("the transport is not open for writing")
        if self._writing_client is None:
            self._writing_client = self._open_writing()
        try:
            return await self._writing_client.send(
                method, target, body, max_bytes=self.max_body_bytes, timeout_seconds=timeout_seconds
            )
        except NotSentError as error:
            raise _not_sent(error.__cause__) from None
        except TimeoutError:
            late = DeadlineExceeded("Leyr did not answer in time", retryable=False)
            raise AttemptError(late, CallResult.TIMED_OUT) from None
        except (ContentDecodingError, BodyTooLargeError, BodyBudgetError, OSError) as error:
            broken = UpstreamInvalidAnswer("Leyr's answer to what was sent cannot be read")
            result = CallResult.LOST if isinstance(error, OSError) else CallResult.INVALID_ANSWER
            raise AttemptError(broken, result) from None

    async def get(self, target: str, *, timeout_seconds: float) -> Response:
        """Request a percent-encoded path and query below the base URL. Redirects are not followed.

        Raises AttemptError with DeadlineExceeded, UpstreamUnavailable or Overloaded inside, UpstreamAnswerTooLarge, and
        UpstreamInvalidAnswer for a body that cannot be decompressed.
        """
        if self._http_client is None:
            raise RuntimeError("the transport is not open")
        try:
            response = await self._http_client.get(
                target, max_bytes=self.max_body_bytes, timeout_seconds=timeout_seconds
            )
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
        except OSError as error:
            # The text may hold the URL, so it is not passed on.
            failure = kind_of(error)
            unreachable = UpstreamUnavailable(
                "Leyr cannot be reached" if failure.is_retryable else "Leyr's certificate cannot be trusted",
                retryable=failure.is_retryable,
            )
            raise AttemptError(unreachable, CallResult.UNREACHABLE, failure) from None
        return _without_bom(response) if response.body.startswith(BOM_UTF8) else response


def _not_sent(cause: BaseException | None) -> AttemptError:
    """Why nothing was sent; the cause's text may hold the URL, so it is not passed on."""
    if cause is None or isinstance(cause, PoolTimeoutError | TimeoutError):
        busy = Overloaded("No connection to Leyr was free in time", retryable=True, retry_after=1.0)
        return AttemptError(busy, CallResult.NO_CONNECTION)
    failure = kind_of(cause)
    unreachable = UpstreamUnavailable("Leyr cannot be reached", retryable=failure.is_retryable)
    return AttemptError(unreachable, CallResult.UNREACHABLE, failure)


def _without_bom(response: Response) -> Response:
    """The response without the byte order mark, which no JSON may begin with and which parsers may read past."""
    if isinstance(response.body, bytearray):
        # In place, since it may be large, and what it takes is counted for this response.
        del response.body[: len(BOM_UTF8)]
        return response
    return replace(response, body=response.body[len(BOM_UTF8) :])


@dataclass(frozen=True, slots=True, eq=False)
class _Endpoint(Generic[T]):
    """One of ENDPOINTS, and what decodes its lists."""

    name: str
    decoder: ListDecoder[T]


class LeyrClient:
    """Reads care units, resources, healthcare services and timeslots. Every method raises domain errors only.

    The deadline of a call, retries included, is that of its EHR's policy.
    """

    def __init__(
        self,
        transport: LeyrTransport,
        log: structlog.typing.FilteringBoundLogger,
        policies: UpstreamPolicies,
        now: Callable[[], datetime],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """`now` is the time of day, for responses that name a date; `clock` says when a list was asked for."""
        self._clock = clock
        self._transport = transport
        self._now = now
        self._log = log
        self._policies = policies
        self._care_units = _Endpoint("care_units", ListDecoder(CareUnit, "id", max_items=_MAX_CATALOG_ITEMS))
        self._resources = _Endpoint("resources", ListDecoder(Resource, "id", max_items=_MAX_CATALOG_ITEMS))
        self._services = _Endpoint(
            "healthcare_services", ListDecoder(HealthcareService, "id", max_items=_MAX_CATALOG_ITEMS)
        )
        self._timeslots = _Endpoint(
            "timeslots",
            ListDecoder(
                Timeslot,
                "start",
                max_items=_MAX_TIMESLOTS,
                instants=("start", "end"),
                owners=("resource_id", "healthcare_service_id"),
            ),
        )
        self._large = ResizableSemaphore(1)

    async def care_units(self, emr: str) -> Items[CareUnit]:
        """`GET /emrs/{emr}/care-units`."""
        try:
            return _items(await self._list(_path(emr), self._care_units, emr))
        except NotFound as error:
            # The path holds no id that a client sent, so the configuration is wrong, not the request.
            message = "Leyr has no care units under this EHR code"
            raise UpstreamInvalidAnswer(message, reference=error.reference) from None

    async def resources(self, care_unit: CareUnitKey) -> Items[Resource]:
        """`GET /emrs/{emr}/care-units/{care_unit_id}/resources`."""
        return _items(await self._list(f"{_path(*care_unit)}/resources", self._resources, care_unit.emr))

    async def healthcare_services(self, care_unit: CareUnitKey) -> Items[HealthcareService]:
        """`GET /emrs/{emr}/care-units/{care_unit_id}/healthcare-services`."""
        path = f"{_path(*care_unit)}/healthcare-services"
        return _items(await self._list(path, self._services, care_unit.emr))

    async def timeslots(self, step: Step) -> TimeslotList:
        """`GET /emrs/{emr}/care-units/{care_unit_id}/timeslots`; nothing free is an empty list (leyr-api 6.5)."""
        start, end = _quoted_time(step.window.start.isoformat()), _quoted_time(step.window.end.isoformat())
        target = f"{_path(*step.care_unit)}/timeslots?start={start}&end={end}"
        if step.resource is not None:
            target += f"&resource_id={quote(step.resource, safe='')}"
        if step.service is not None:
            target += f"&healthcare_service_id={quote(step.service, safe='')}"
        decoded = await self._list(target, self._timeslots, step.care_unit.emr)
        found = TimeslotList.in_order(decoded.items, decoded.times, decoded.text_bytes)
        if found is None and len(decoded.items) <= PIECE:
            found = TimeslotList(decoded.items, times=decoded.times, text_bytes=decoded.text_bytes)
        if found is None:
            pieces = TimeslotList.in_pieces(decoded.items, decoded.times, decoded.text_bytes)
            found = await self._in_turn(step.care_unit.emr, pieces)
        found.began, found.last_began, found.dropped = decoded.began, decoded.last_began, decoded.dropped
        return found

    async def _list(self, target: str, endpoint: _Endpoint[T], emr: str) -> Decoded[T]:
        policy = self._policies.of(emr)
        began = policy.now()
        found = await policy.call(endpoint.name, partial(self._get_page, target, endpoint, emr))
        if isinstance(found, Page):
            found = await self._with_further_pages(target, found, endpoint, emr, began)
        if found.dropped:
            self._log.warning("upstream.items_dropped", endpoint=endpoint.name, emr=emr, count=found.dropped)
        if found.wrapped:
            self._log.warning("upstream.list_wrapped", endpoint=endpoint.name, emr=emr)
        return found

    async def _with_further_pages(
        self, target: str, first: Page[T], endpoint: _Endpoint[T], emr: str, began: float
    ) -> Decoded[T]:
        """The whole list. Each page is a call by itself, within the time of the first, which began at `began`."""
        policy, max_items = self._policies.of(emr), endpoint.decoder.max_items
        bounds = {"max_items": max_items, "max_bytes": self._transport.max_body_bytes}
        pages = Pages(target, first, base_url=self._transport.base_url, **bounds)
        while (link := pages.next_target()) is not None:
            FURTHER_CALLS.get()(1)
            attempt = partial(self._get_page, link, endpoint, emr, is_first=False)
            try:
                found = await policy.call(endpoint.name, attempt, began)
            except (NotFound, NotSupported, UpstreamRefused) as error:
                # The link is Leyr's own, so nothing follows about what was asked for.
                message = "Leyr refuses a page of its own list"
                raise UpstreamInvalidAnswer(message, reference=error.reference) from None
            pages.add(link, found if isinstance(found, Page) else Page(found, NO_PAGING, 0))
        return pages.whole().require_usable()

    async def _get_page(
        self, target: str, endpoint: _Endpoint[T], emr: str, timeout_seconds: float, *, is_first: bool = True
    ) -> Decoded[T] | Page[T]:
        """The whole list, or a page of it."""
        response = await self._transport.get(target, timeout_seconds=timeout_seconds)
        began = self._clock() - response.age
        if not response.is_success:
            if endpoint is self._timeslots and _has_no_timeslots(response):
                return Decoded([], began=began)
            error = error_for(response, read_error_envelope(response), self._now())
            raise AttemptError(error, result_of(error, response.status))
        decoded = endpoint.decoder.decode_simply(response.body)
        if decoded is None:
            decoded = await self._decode(response, endpoint, emr)
        decoded.began = began
        paging = paging_of(decoded, response)
        if is_first and paging is NO_PAGING:
            return decoded.require_usable()
        return Page(decoded, paging, len(response.body))

    async def _decode(self, response: Response, endpoint: _Endpoint[T], emr: str) -> Decoded[T]:
        """The list in a response that is long, or anything else than most are."""
        if _says_nothing(response, is_timeslots=endpoint is self._timeslots):
            return Decoded([])
        pieces = endpoint.decoder.decode_page(response.body)
        return whole(pieces) if len(response.body) <= _LARGE_BODY_BYTES else await self._in_turn(emr, pieces)

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
    if response.status not in _REFUSALS:
        return False
    envelope = read_error_envelope(response)
    return envelope.code in {None, "BAD_REQUEST"} and set(envelope.details) == {"NO_TIMESLOTS_AVAILABLE"}


_REFUSALS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_FOUND, HTTPStatus.UNPROCESSABLE_ENTITY})


def _says_nothing(response: Response, *, is_timeslots: bool) -> bool:
    """Whether a successful response says in other words than `[]` that the list is empty.

    An empty body with another status than 204 may also be a proxy's fault. For timeslots that matters for seconds; the
    catalogue would be gone for minutes, so there it is no list.
    """
    body = response.body[:_LONGEST_NOTHING].strip()
    if body == b"null":
        return len(response.body) <= _LONGEST_NOTHING
    is_empty = not body and len(response.body) <= _LONGEST_NOTHING
    return is_empty and (is_timeslots or response.status == HTTPStatus.NO_CONTENT)


_LONGEST_NOTHING = 64


def _items(decoded: Decoded[Item]) -> Items[Item]:
    return Items(decoded.items, decoded.dropped)


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
