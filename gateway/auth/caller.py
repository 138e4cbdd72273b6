"""Callers: their credentials, what they may see and their rate; anonymous ones are told apart by their addresses.

An address, which trusted proxies may say in a header, is personal data: it is compared here and kept as the key of a
share, and goes nowhere else.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import inf
from typing import NamedTuple, Protocol, TypeAlias

from gateway.domain.appointments import NO_BOOKING, BookingRights, PatientIdentification
from gateway.domain.errors import BadUserInput, Unauthenticated
from gateway.domain.ids import NodeId, NodeType, is_usable, parse_node_id
from gateway.domain.models import EVERYTHING, Access, CareUnitKey

ANONYMOUS = "anonymous"
"""The name of all callers without a credential."""

_BEARER = re.compile(r"bearer +([^\x00-\x20\x7f,]+)", re.IGNORECASE)
_SPACE = " \t"


def bearer(headers: Mapping[bytes, str]) -> str | None:
    """The bearer credential of a request, None without the header. Raises Unauthenticated for any other scheme."""
    given = headers.get(b"authorization")
    if given is None:
        return None
    found = _BEARER.fullmatch(given.strip(_SPACE))
    if found is None:
        raise Unauthenticated("`Authorization` must be `Bearer`, a space and one credential")
    return found[1]


def api_key(headers: Mapping[bytes, str]) -> str:
    """The API key of a request. Raises Unauthenticated if there is none, or two that differ."""
    keys = {key for key in (headers.get(b"x-api-key", "").strip(_SPACE), bearer(headers)) if key}
    if not keys:
        raise Unauthenticated("Send an API key as `x-api-key`, or as `Authorization: Bearer`")
    if len(keys) > 1:
        raise Unauthenticated("`x-api-key` and `Authorization` carry different keys; send one of them")
    return keys.pop()


is_emr_code = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}").fullmatch
"""Whether a text can be the code of an EHR."""


def care_units(texts: Iterable[str]) -> frozenset[CareUnitKey] | None:
    """The care units of these node ids, or of an EHR's code, `/` and Leyr's id; None if a text is neither."""
    found = set()
    for text in texts:
        try:
            node = parse_node_id(text)
        except BadUserInput:
            # Base64 may contain `/` too, so a node id is tried first.
            emr, _, leyr_id = text.partition("/")
            if not is_emr_code(emr) or not is_usable(leyr_id):
                return None
            found.add(CareUnitKey(emr, leyr_id))
        else:
            if not isinstance(node, NodeId) or node.type is not NodeType.CARE_UNIT:
                return None
            found.add(node.care_unit)
    return frozenset(found)


def patient_kinds(texts: Iterable[str]) -> frozenset[PatientIdentification] | None:
    """The ways to name a patient that these texts name in lower case; None if one is none."""
    found = [PatientIdentification.__members__.get(each.upper()) for each in texts if each == each.lower()]
    return frozenset(each for each in found if each is not None) if found and None not in found else None


class AuthSettingsError(Exception):
    """The settings of callers are wrong; the message says where and what to write, and never quotes a value."""


@dataclass(frozen=True, slots=True)
class Rate:
    """Requests per second, the `burst` that may come at once after a pause, and what they may ask for in a minute.

    Raises ValueError where one is too small.
    """

    per_second: float
    burst: int
    calls_per_minute: int = 1_000
    bookings_per_minute: int = 600

    def __post_init__(self) -> None:
        counts = self.burst, self.calls_per_minute, self.bookings_per_minute
        if not 0 < self.per_second < inf or min(counts) < 1:
            raise ValueError("a rate is above 0 requests a second, with a burst, calls and bookings of at least 1")


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request; `name` identifies it and holds nothing personal."""

    name: str
    access: Access
    rate: Rate
    rights: BookingRights = NO_BOOKING


class CredentialVerifier(Protocol):
    """Verifies the credentials of requests."""

    async def identify(self, headers: Mapping[bytes, str]) -> Caller:
        """The caller that sent these headers, with names in lower case and values decoded from Latin-1.

        Raises Unauthenticated and Forbidden, neither of which quotes a credential, and KeysUnavailableError if the
        credential cannot be verified now.
        """
        ...

    async def start(self) -> None:
        """Begin to fetch what is needed, without waiting for it."""
        ...

    async def close(self) -> None:
        """Close connections, if there are any."""
        ...


Network: TypeAlias = IPv4Network | IPv6Network

_MAX_HOPS = 16
_MAX_ELEMENT = 512
_MAX_ADDRESS = 128
_MAX_KNOWN_ADDRESSES = 1_024
# Of IPv6 a household or an office has at least a /64, within which each machine chooses its address as it likes.
_IPV6_PREFIX_BYTES = 8
_IPV4_MAPPED = IPv6Network("::ffff:0:0/96")
_UNKNOWN_CLIENT = b""

_PORT = r"(?::(?:[0-9]{1,5}|_[A-Za-z0-9._-]{1,64}))?"
_is_node = re.compile(rf"\[([0-9A-Fa-f:.]{{2,45}})\]{_PORT}|([0-9.]{{7,15}}){_PORT}|([0-9A-Fa-f:.]{{2,45}})").fullmatch
# Some proxies leave out the quotation marks that a port and IPv6 ask for.
_PAIR = re.compile(
    r"""[ \t]*([!#$%&'*+.^_`|~0-9A-Za-z-]+)=(?:([!#$%&'*+.^_`|~0-9A-Za-z:\[\]-]+)|"((?:[^"\\]|\\.)*)")[ \t]*(;|\Z)"""
)
_QUOTED_PAIR = re.compile(r"\\(.)")


class AnonymousCaller(NamedTuple):
    """A caller without a credential: the key of its share, and its rate; None where it has none."""

    key: bytes
    rate: Rate | None


class _Hop(NamedTuple):
    """A machine that a request passed: `key` is the same for all addresses of one caller."""

    key: bytes
    is_trusted: bool
    is_loopback: bool


def proxy_networks(texts: Iterable[str]) -> tuple[Network, ...]:
    """The networks that these texts name in CIDR notation, or as single addresses. Raises ValueError.

    A network of all addresses is refused: everybody could then choose an address to be counted under.
    """
    found = []
    for text in texts:
        network = ip_network(text)
        if not network.prefixlen:
            raise ValueError("a network of all addresses trusts everybody")
        if isinstance(network, IPv6Network) and network.subnet_of(_IPV4_MAPPED):
            mapped = network.network_address.ipv4_mapped
            network = IPv4Network((int(mapped or 0), network.prefixlen - _IPV4_MAPPED.prefixlen))
        found.append(network)
    return tuple(found)


def is_loopback(host: str) -> bool:
    """Whether a URL's host is this machine, by its address or by the name that is reserved for it (RFC 6761)."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().removesuffix(".").rpartition(".")[2] == "localhost"


class AnonymousCallers:
    """Tells anonymous callers apart by their addresses: IPv4 by the whole of it, IPv6 by the network of 64 bits.

    Who connects is the caller, unless it is one of the `trusted` networks. Then its `X-Forwarded-For` or `Forwarded`
    (RFC 7239) is read from the right, where the nearest proxy wrote, over trusted proxies to the first other address.
    Where an element cannot be read, the proxy that passed it on is the caller; so it is where the two headers differ,
    since only one of them is the proxy's own and nobody can say which.

    A connection from this machine that is not a trusted proxy's has no rate: it is a developer's, a benchmark's, or
    of a proxy that stands for everybody and was not declared.
    """

    def __init__(
        self,
        rate: Rate,
        trusted: Sequence[Network] = (),
        rights: BookingRights = NO_BOOKING,
    ) -> None:
        self._rate = rate
        # One for all: who loses its address must find its booking again, and keys and ids are not to be guessed.
        self.sender = Caller(ANONYMOUS, EVERYTHING, rate, rights)
        self._trusted = trusted
        # Clients come again and again, and to parse an address costs more than all else here.
        self.hop_of = lru_cache(_MAX_KNOWN_ADDRESSES)(self._read_hop)

    def identify(self, client: Sequence[object] | None, headers: Mapping[bytes, str]) -> AnonymousCaller:
        """The caller behind an ASGI scope's `client`, with headers by their names in lower case."""
        peer = self.hop_of(str(client[0])) if client else None
        if peer is None:
            # A Unix socket, or a server that does not say: all of those are one caller.
            return AnonymousCaller(_UNKNOWN_CLIENT, self._rate)
        if not peer.is_trusted:
            return AnonymousCaller(peer.key, None if peer.is_loopback else self._rate)
        return AnonymousCaller(self._forwarded(peer, headers).key, self._rate)

    def _forwarded(self, peer: _Hop, headers: Mapping[bytes, str]) -> _Hop:
        by_list, by_pairs = headers.get(b"x-forwarded-for"), headers.get(b"forwarded")
        found = {
            self._walked(peer, nodes)
            for nodes in (
                None if by_list is None else _nodes_of_list(by_list),
                None if by_pairs is None else _nodes_of_pairs(by_pairs),
            )
            if nodes is not None
        }
        return found.pop() if len(found) == 1 else peer

    def _walked(self, peer: _Hop, nodes: Iterator[str]) -> _Hop:
        """The first untrusted hop of these from the right, else the last trusted one that can be read."""
        hop = peer
        for _, text in zip(range(_MAX_HOPS), nodes, strict=False):
            before = self.hop_of(text) if len(text) <= _MAX_ADDRESS else None
            if before is None:
                break
            hop = before
            if not hop.is_trusted:
                break
        return hop

    def _read_hop(self, text: str) -> _Hop | None:
        """Read an address that may have a port; None where it is none, such as `unknown` or `_hidden`."""
        node = _is_node(text.partition("%")[0])
        if node is None:
            return None
        try:
            address: IPv4Address | IPv6Address = ip_address(node[1] or node[2] or node[3])
        except ValueError:
            return None
        if isinstance(address, IPv6Address):
            address = address.ipv4_mapped or address
        is_trusted = any(address in network for network in self._trusted)
        key = address.packed if address.version == 4 else address.packed[:_IPV6_PREFIX_BYTES]  # noqa: PLR2004 # IP's
        return _Hop(key, is_trusted, address.is_loopback)


def _nodes_of_list(value: str) -> Iterator[str]:
    """The addresses of an `X-Forwarded-For`, the last first."""
    _, *nodes = ("," + value).rsplit(",", _MAX_HOPS)
    for text in reversed(nodes):
        yield text.strip(" \t")


def _nodes_of_pairs(value: str) -> Iterator[str]:
    """The `for` of each element of a `Forwarded`, the last first; an empty text for what cannot be read.

    The elements are found from the right as well: a quotation mark that a client left open must not take in what the
    proxies wrote after it.
    """
    end = comma = len(value)
    for _ in range(2 * _MAX_HOPS):
        comma = value.rfind(",", max(0, end - _MAX_ELEMENT), comma)
        if comma < 0 and end > _MAX_ELEMENT:
            break
        element = value[comma + 1 : end]
        if _QUOTED_PAIR.sub("", element).count('"') % 2 == 0:
            yield _for_of(element)
            end = comma
        if comma < 0:
            return
    yield ""


def _for_of(element: str) -> str:
    found, position = [], 0
    while (pair := _PAIR.match(element, position)) is not None:
        if pair[1].lower() == "for":
            found.append(pair[2] or _QUOTED_PAIR.sub(r"\1", pair[3] or ""))
        position = pair.end()
        if not pair[4]:
            return found[0] if len(found) == 1 and position == len(element) else ""
    return ""
