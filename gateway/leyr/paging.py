"""Pages of a list: what an object around it, or a header, says of further ones, and which links may be followed.

Leyr documents no paging (leyr-api 7), so what is common elsewhere is understood. A list that says in any other way that
there is more of it is invalid: delivered, it would be silently short.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from http import HTTPStatus
from itertools import chain
from typing import Any, Generic, TypeVar
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit

import msgspec

from gateway.domain.errors import UpstreamAnswerTooLarge, UpstreamInvalidAnswer
from gateway.http_client.connection import Response
from gateway.leyr.decoding import Decoded

T = TypeVar("T", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True)
class Paging:
    """What a page says: the link to the next one, how many items and pages there are, and whether it is cut off.

    A list that is cut off has more items, and no link that leads to them.
    """

    next_link: str | None = None
    total: int = 0
    pages: int = 0
    is_cut_off: bool = False


MAX_PAGES = 50
_MAX_BESIDE_BYTES = 64 * 1024
_MAX_LINK = 8 * 1024
# Names in lower case, without what is no letter.
_AROUND_LINKS = frozenset({"links", "meta", "metadata", "page", "pageinfo", "paging", "pagination"})
_NEXT = frozenset(
    {
        "continuationtoken",
        "next",
        "nextcursor",
        "nexthref",
        "nextlink",
        "nextoffset",
        "nextpage",
        "nextpagelink",
        "nextpagenumber",
        "nextpagetoken",
        "nextpageuri",
        "nextpageurl",
        "nexttoken",
        "nexturi",
        "nexturl",
        "odatanextlink",
    }
)
_MORE = frozenset(
    {
        "hasmore",
        "hasmoreitems",
        "hasmorepages",
        "hasmoreresults",
        "hasnext",
        "hasnextpage",
        "incompleteresults",
        "istruncated",
        "more",
        "moreavailable",
        "truncated",
    }
)
# Whether this page is the last one.
_LAST = frozenset({"islast", "islastpage", "last"})
_TOTALS = frozenset({"count", "odatacount", "total", "totalcount", "totalelements", "totalitems", "totalresults"})
_PAGES = frozenset({"lastpage", "pagecount", "pages", "totalpages"})
_NOTHING: tuple[object, ...] = (None, "", [], {})
_NO = ("false", "no", "0", 0)
# As in `{"meta": {"pagination": {"links": {"next": ...}}}}`.
_LEVELS = 3
_NO_LETTER = re.compile(r"[^a-z]+")
NO_PAGING = Paging()


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A page of a list, what it says of the others, and the size of its body."""

    decoded: Decoded[T]
    paging: Paging
    size: int


class Pages(Generic[T]):
    """The pages of a list, as they come."""

    def __init__(self, target: str, first: Page[T], *, base_url: str, max_items: int, max_bytes: int) -> None:
        """`target` is where the first page came from, below the base URL; the bounds hold for all pages together."""
        self._targets = [target]
        self._pages = [first]
        self._base_url = base_url
        self._max_items = max_items
        self._max_bytes = max_bytes

    def next_target(self) -> str | None:
        """Where the next page is; None after the last. Raises UpstreamInvalidAnswer where it may not be asked for."""
        last = self._pages[-1].paging
        if last.is_cut_off:
            raise UpstreamInvalidAnswer("Leyr's list goes on, and does not say where")
        if last.next_link is None:
            return None
        target = next_target(last.next_link, self._base_url, self._targets[-1])
        if target in self._targets:
            raise UpstreamInvalidAnswer("Leyr's pages lead in a circle")
        if len(self._pages) >= MAX_PAGES:
            raise UpstreamAnswerTooLarge("Leyr's list has more pages than the gateway reads")
        return target

    def add(self, target: str, page: Page[T]) -> None:
        """Add the next page. Raises UpstreamAnswerTooLarge where all together are too large."""
        self._targets.append(target)
        self._pages.append(page)
        if self._rows > self._max_items or sum(each.size for each in self._pages) > self._max_bytes:
            raise UpstreamAnswerTooLarge("Leyr's list holds more items than the gateway reads")

    def whole(self) -> Decoded[T]:
        """All pages as one list. Raises UpstreamInvalidAnswer where they say that there is more."""
        last, lists = self._pages[-1].paging, [each.decoded for each in self._pages]
        # What changes meanwhile is in the last page's numbers.
        if last.total > self._rows or last.pages > len(self._pages):
            raise UpstreamInvalidAnswer("Leyr's list is shorter than it says")
        return Decoded(
            list(chain.from_iterable(each.items for each in lists)),
            sum(each.dropped for each in lists),
            any(each.wrapped for each in lists),
            frozenset().union(*(each.times for each in lists)),
            sum(each.text_bytes for each in lists),
            began=lists[0].began,
            last_began=lists[-1].began,
        )

    @property
    def _rows(self) -> int:
        return sum(len(each.decoded.items) + each.decoded.dropped for each in self._pages)


def paging_of(decoded: Decoded[Any], response: Response) -> Paging:
    """What a response and the object in it say of further pages; NO_PAGING where they say nothing."""
    paging = _paging_of(decoded.beside) if decoded.beside is not None else NO_PAGING
    if not _HEADERS.isdisjoint(response.headers):
        paging = _with_headers(paging, response.headers)
    if response.status == HTTPStatus.PARTIAL_CONTENT and paging.next_link is None and not paging.total:
        return replace(paging, is_cut_off=True)
    return paging


def _paging_of(beside: Mapping[str, bytes]) -> Paging:
    """What the fields beside a list say of its pages."""
    paging = NO_PAGING
    for name, value in _facts(beside):
        if name in _NEXT and not _is_nothing(value):
            link = _link_in(value)
            if link is None:
                paging = replace(paging, is_cut_off=True)
            elif paging.next_link is None:
                paging = replace(paging, next_link=link)
        elif (name in _MORE and not _is_nothing(value) and value not in _NO) or (name in _LAST and value is False):
            paging = replace(paging, is_cut_off=True)
        elif name in _TOTALS:
            paging = replace(paging, total=max(paging.total, _number(value)))
        elif name in _PAGES:
            paging = replace(paging, pages=max(paging.pages, _number(value)))
    if paging.next_link is not None and paging.is_cut_off:
        # Beside a link a token, or a flag, says the same once more.
        return replace(paging, is_cut_off=False)
    return paging


def _is_nothing(value: object) -> bool:
    return value is False or value in _NOTHING


def _facts(beside: Mapping[str, bytes]) -> Iterator[tuple[str, Any]]:
    """The plain names and values of what may be about paging, also some levels deeper."""
    for name, text in beside.items():
        plain = _plain(name)
        if plain in _AROUND_LINKS or plain in _ABOUT_PAGING:
            yield from _facts_in(plain, _read(text), _LEVELS)


def _facts_in(name: str, value: Any, levels: int) -> Iterator[tuple[str, Any]]:
    if name not in _AROUND_LINKS:
        yield name, value
    elif isinstance(value, dict) and levels:
        for inner, each in value.items():
            yield from _facts_in(_plain(inner), each, levels - 1)
    elif isinstance(value, list):
        yield from _with_relations(value)


_ABOUT_PAGING = _NEXT | _MORE | _LAST | _TOTALS | _PAGES


def _with_relations(links: Iterable[object]) -> Iterator[tuple[str, Any]]:
    for each in links:
        if isinstance(each, dict) and isinstance(each.get("rel"), str):
            yield _plain(each["rel"]), each


def _read(text: bytes) -> Any:
    """The value of a field beside a list. Raises UpstreamInvalidAnswer where it is not read: it may say anything."""
    if len(text) <= _MAX_BESIDE_BYTES:
        with suppress(msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return msgspec.json.decode(text)
    raise UpstreamInvalidAnswer("Leyr's list has something beside it that the gateway cannot read")


def _plain(name: str) -> str:
    return _NO_LETTER.sub("", name.lower())


def _number(value: object) -> int:
    """A whole number, also as text; 0 for anything else."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MAX_DIGITS:
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


_MAX_DIGITS = 18


def _link_in(value: object) -> str | None:
    """The link in a value, itself or its `href`; None for a token, or whatever else cannot be followed."""
    if isinstance(value, dict):
        value = value.get("href")
    return value if isinstance(value, str) and _LOOKS_LIKE_LINK.match(value) else None


# A token may hold a slash, but does not begin with one.
_LOOKS_LIKE_LINK = re.compile(r"https?://|\.{0,2}/|[^?]*\?[^?]*=", re.IGNORECASE)


def _with_headers(paging: Paging, headers: Mapping[str, str]) -> Paging:
    """What headers add: `Link` with a relation `next` (RFC 8288), numbers, and of what a `Content-Range` is a part."""
    in_range = _CONTENT_RANGE.fullmatch(headers.get("content-range", ""))
    totals = [headers.get(name, "") for name in _TOTAL_HEADERS] + ([in_range[1]] if in_range else [])
    pages = max(paging.pages, _number(headers.get("x-total-pages", "")))
    paging = replace(paging, total=max(paging.total, *map(_number, totals)), pages=pages)
    links = [link for link, parameters in _LINKS.findall(headers.get("link", "")) if _is_next(parameters)]
    if paging.next_link is None and links:
        return replace(paging, next_link=links[0], is_cut_off=False)
    # Malformed, but not to be passed over; and what says that there is a next page, and not where.
    is_cut_off = _is_next(";" + headers.get("link", "")) or bool(headers.get("x-next-page"))
    return replace(paging, is_cut_off=paging.is_cut_off or (is_cut_off and paging.next_link is None))


_TOTAL_HEADERS = ("x-total-count", "x-total", "total-count")
_HEADERS = frozenset({"link", "content-range", "x-next-page", "x-total-pages", *_TOTAL_HEADERS})
# Of anything but bytes, such as `items 0-49/200` (RFC 9110, section 14.4); some leave the unit out.
_CONTENT_RANGE = re.compile(r"(?:(?!bytes\b)\S+ )?[^ /]*/(\d+|\*)", re.ASCII | re.IGNORECASE)


def _is_next(parameters: str) -> bool:
    return any("next" in (quoted or bare).lower().split() for quoted, bare in _RELATIONS.findall(parameters))


_LINKS = re.compile(r"<([^<>]*)>([^<]*)")
_RELATIONS = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)


def next_target(link: str, base_url: str, target: str) -> str:
    """The path and query of a link below the base URL, as HttpClient takes it.

    `target` is the one whose page has the link, which relative links begin from. Raises UpstreamInvalidAnswer where the
    link leads elsewhere: to another scheme, host, port, or out of the base URL's path.
    """
    with suppress(ValueError):
        base = urlsplit(base_url)
        # What may not stand in a URL is encoded, what is encoded stays so.
        url = urlsplit(urljoin(base_url + target, quote(link, safe=_URL_CHARACTERS)))
        prefix = base.path.rstrip("/") + "/"
        path = unquote(url.path).replace("\\", "/")
        is_below = url.path.startswith(prefix) and not _DOTS.intersection(path.split("/"))
        if is_below and _origin(url) == _origin(base) and len(link) <= _MAX_LINK:
            query = f"?{url.query}" if url.query else ""
            return url.path[len(prefix) - 1 :] + query
    raise UpstreamInvalidAnswer("Leyr's list goes on at an address that is not Leyr's")


_URL_CHARACTERS = "%/:?#[]@!$&'()*+,;=~"
_DOTS = frozenset({".", ".."})
_DEFAULT_PORTS = {"http": 80, "https": 443}


def _origin(url: SplitResult) -> tuple[object, ...]:
    return url.scheme, url.hostname, url.port or _DEFAULT_PORTS.get(url.scheme), url.username, url.password
