"""What is written into the shared store about a list of the catalogue: the events of its log, and the list itself."""

from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import TypeAlias, TypeVar

from msgspec import DecodeError, Struct
from msgspec.msgpack import Decoder, Encoder

from gateway.domain.models import CatalogItem, Items
from gateway.domain.pieces import PIECE, InPieces, Pieces, batches, whole
from gateway.shared_store.event_log import LogPage, Position

T = TypeVar("T", bound=CatalogItem)


class Began(Struct, tag="began", array_like=True, frozen=True):
    """A process begins to call Leyr."""

    lease: str


class Landed(Struct, tag="landed", array_like=True, frozen=True):
    """Its call brought the list as it was at `began`, in microseconds of the server's clock, or later."""

    lease: str
    began: int


class Failed(Struct, tag="failed", array_like=True, frozen=True):
    """Its call brought nothing, or nobody waited for it any more."""

    lease: str


ListEvent: TypeAlias = Began | Landed | Failed


class StoredList(Struct, array_like=True, frozen=True):
    """A list as it is kept: when it was requested, how many rows it lacks, and its items in pieces."""

    began: int
    dropped: int
    pieces: list[bytes]


_ENCODER = Encoder()
_EVENTS: Decoder[ListEvent] = Decoder(ListEvent)
_LISTS = Decoder(StoredList)


def encoded_event(event: ListEvent) -> bytes:
    """An event as it is written."""
    return _ENCODER.encode(event)


def decoded_event(plain: bytes | None) -> ListEvent | None:
    """An event as it was written; None for anything else."""
    with suppress(DecodeError):  # no process of this version wrote it
        return None if plain is None else _EVENTS.decode(plain)
    return None


def events_of(page: LogPage) -> Sequence[tuple[Position, ListEvent]]:
    """What is known to have happened, in order."""
    found = [(each.position, decoded_event(each.event)) for each in page.events]
    return [(position, event) for position, event in found if event is not None]


def pending_leases(
    events: Iterable[tuple[Position, ListEvent]], ended: Collection[str], earliest: Position
) -> Sequence[str]:
    """The leases of the calls that began at a position or later and are under way, in order."""
    pending: dict[str, None] = {}
    for position, event in events:
        if not isinstance(event, Began):
            pending.pop(event.lease, None)
        elif position >= earliest and event.lease not in ended:
            pending[event.lease] = None
    return list(pending)


async def encoded_list(items: Iterable[CatalogItem], began: int, most_bytes: int) -> bytes | None:
    """A list as it is kept; None for one that is too long."""
    given = items if isinstance(items, list) else list(items)
    dropped = items.dropped if isinstance(items, Items) else 0
    work = _encoded_in_pieces(given)
    pieces = whole(work) if len(given) <= PIECE else await InPieces(work)
    is_short = sum(map(len, pieces)) <= most_bytes
    return _ENCODER.encode(StoredList(began, dropped, pieces)) if is_short else None


def decoded_list(plain: bytes | None) -> StoredList | None:
    """A list as it was kept, its items still to be decoded; None for anything else."""
    with suppress(DecodeError):  # as above
        return None if plain is None else _LISTS.decode(plain)
    return None


async def decoded_items(decoder: Decoder[list[T]], stored: StoredList) -> Items[T] | None:
    """The items of a list that was kept; None where they are none."""
    work = _decoded_in_pieces(decoder, stored)
    try:
        return whole(work) if len(stored.pieces) <= 1 else await InPieces(work)
    except DecodeError:
        return None


def _encoded_in_pieces(items: Sequence[CatalogItem]) -> Pieces[list[bytes]]:
    encoded = []
    for batch in batches(items):
        encoded.append(_ENCODER.encode(batch))
        yield
    return encoded


def _decoded_in_pieces(decoder: Decoder[list[T]], stored: StoredList) -> Pieces[Items[T]]:
    items: Items[T] = Items(dropped=stored.dropped)
    for each in stored.pieces:
        items += decoder.decode(each)
        yield
    return items
