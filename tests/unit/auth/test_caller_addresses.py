"""Anonymous callers are told apart by their addresses, which only trusted proxies may say."""

from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.auth.caller import AnonymousCallers, Rate, proxy_networks

RATE = Rate(5, 10)
PROXIES = proxy_networks(["10.0.0.0/8", "127.0.0.1", "fd00::/8"])
BOTH = (b"x-forwarded-for", b"forwarded")


def key(peer: str | None, trusted: bool = True, **headers: str) -> bytes:  # noqa: FBT002 # reads well in calls
    callers = AnonymousCallers(RATE, PROXIES if trusted else ())
    named = {name.replace("_", "-").encode(): value for name, value in headers.items()}
    return callers.identify(None if peer is None else (peer, 1), named).key


def v4(text: str) -> bytes:
    return ip_address(text).packed


def v6(text: str) -> bytes:
    return ip_address(text).packed[:8]


@pytest.mark.parametrize(
    ("peer", "found"),
    [
        ("192.0.2.1", v4("192.0.2.1")),
        ("::ffff:192.0.2.1", v4("192.0.2.1")),
        ("2001:db8:1:2:aaaa::1", v6("2001:db8:1:2::")),
        ("2001:db8:1:2:ffff:ffff:ffff:ffff", v6("2001:db8:1:2::")),
        ("2001:db8:1:3::1", v6("2001:db8:1:3::")),
        ("fe80::1%eth0", v6("fe80::")),
        ("/run/some.sock", b""),
        ("", b""),
        (None, b""),
    ],
)
def test_a_caller_is_its_ipv4_address_or_its_ipv6_network_of_64_bits(peer: str | None, found: bytes) -> None:
    assert key(peer, trusted=False) == found


def test_headers_of_a_client_that_is_no_trusted_proxy_are_ignored() -> None:
    for trusted in (True, False):
        assert key("192.0.2.1", trusted, x_forwarded_for="192.0.2.9", forwarded="for=192.0.2.9") == v4("192.0.2.1")


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("192.0.2.1", v4("192.0.2.1")),
        ("192.0.2.1:4711", v4("192.0.2.1")),
        ("2001:db8::1", v6("2001:db8::")),
        ("[2001:db8::1]", v6("2001:db8::")),
        ("[2001:db8::1]:4711", v6("2001:db8::")),
        ("::ffff:192.0.2.1", v4("192.0.2.1")),
        ("192.0.2.9, 192.0.2.1", v4("192.0.2.1")),
        ("garbage, 192.0.2.1", v4("192.0.2.1")),
        ("192.0.2.9,192.0.2.1 ,\t10.0.0.2, 10.0.0.3", v4("192.0.2.1")),
        ("10.0.0.2, 10.0.0.3", v4("10.0.0.2")),
        ("192.0.2.9, unknown, 10.0.0.3", v4("10.0.0.3")),
        ("192.0.2.9, _hidden", v4("10.1.1.1")),
        ("192.0.2.9,", v4("10.1.1.1")),
        ("192.0.2.256", v4("10.1.1.1")),
        ("192.0.2.1:port", v4("10.1.1.1")),
        ("a" * 100_000, v4("10.1.1.1")),
        ("", v4("10.1.1.1")),
        (", ".join(["192.0.2.1", *["10.0.0.2"] * 15]), v4("192.0.2.1")),
        (", ".join(["192.0.2.1", *["10.0.0.2"] * 16]), v4("10.0.0.2")),
    ],
)
def test_x_forwarded_for_of_a_trusted_proxy_names_the_caller(value: str, found: bytes) -> None:
    assert key("10.1.1.1", x_forwarded_for=value) == found


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("for=192.0.2.1", v4("192.0.2.1")),
        ('For="192.0.2.1:4711";proto=https', v4("192.0.2.1")),
        ("by=10.0.0.9; for=192.0.2.1:4711 ;proto=https", v4("192.0.2.1")),
        ('for="[2001:db8::1]"', v6("2001:db8::")),
        ('for="[2001:db8::1]:_port"', v6("2001:db8::")),
        ('for="\\192.0.2.1"', v4("192.0.2.1")),
        ('host="a,b;for=192.0.2.9\\"";for=192.0.2.1', v4("192.0.2.1")),
        ('for=192.0.2.1;host="a,b;for=192.0.2.9\\"", for=10.0.0.2', v4("192.0.2.1")),
        ('for="192.0.2.9, for=192.0.2.1', v4("192.0.2.1")),
        ('for=192.0.2.9, for="_secret", for=10.0.0.2', v4("10.0.0.2")),
        ("for=unknown", v4("10.1.1.1")),
        ("for=192.0.2.1;for=192.0.2.2", v4("10.1.1.1")),
        ("proto=https", v4("10.1.1.1")),
        ('for="192.0.2.1', v4("10.1.1.1")),
        ('for=192.0.2.1"', v4("10.1.1.1")),
        ("for = 192.0.2.1", v4("10.1.1.1")),
        ("for=192.0.2.1;host=" + "a" * 600, v4("10.1.1.1")),
        ("", v4("10.1.1.1")),
        (", ".join(["for=192.0.2.1", *["for=10.0.0.2"] * 15]), v4("192.0.2.1")),
        (", ".join(["for=192.0.2.1", *["for=10.0.0.2"] * 16]), v4("10.0.0.2")),
    ],
)
def test_forwarded_of_a_trusted_proxy_names_the_caller(value: str, found: bytes) -> None:
    assert key("10.1.1.1", forwarded=value) == found


def test_both_headers_count_only_where_they_agree() -> None:
    assert key("10.1.1.1", x_forwarded_for="192.0.2.1", forwarded='for="192.0.2.1:80"') == v4("192.0.2.1")
    assert key("10.1.1.1", x_forwarded_for="192.0.2.1", forwarded="for=192.0.2.9") == v4("10.1.1.1")
    assert key("10.1.1.1", x_forwarded_for="192.0.2.1", forwarded="garbage") == v4("10.1.1.1")


def test_only_connections_of_this_machine_that_are_no_proxy_have_no_rate() -> None:
    plain, behind = AnonymousCallers(RATE), AnonymousCallers(RATE, PROXIES)
    forged = {b"x-forwarded-for": "127.0.0.1"}

    assert plain.identify(("127.0.0.1", 1), {}) == (v4("127.0.0.1"), None)
    assert plain.identify(("::1", 1), {}) == (v6("::1"), None)
    assert plain.identify(("::ffff:127.0.0.2", 1), {}) == (v4("127.0.0.2"), None)
    assert plain.identify(("192.0.2.1", 1), forged) == (v4("192.0.2.1"), RATE)
    assert plain.identify(None, {}) == (b"", RATE)
    assert behind.identify(("127.0.0.1", 1), {}) == (v4("127.0.0.1"), RATE)
    assert behind.identify(("127.0.0.1", 1), forged) == (v4("127.0.0.1"), RATE)
    assert behind.identify(("10.0.0.1", 1), {b"x-forwarded-for": "127.0.0.2"}) == (v4("127.0.0.2"), RATE)


addresses = st.ip_addresses().filter(lambda each: each.version == 6 or not any(each in n for n in PROXIES))
addresses = addresses.filter(lambda each: each not in PROXIES[2] and getattr(each, "ipv4_mapped", None) is None)
inner = st.lists(st.sampled_from(["10.0.0.2", "127.0.0.1", "fd00::7"]), max_size=5)
forged_texts = st.text('for=;", \\1.2:[]_a', max_size=80) | st.text(st.characters(codec="latin-1"), max_size=80)
ports = st.sampled_from(["", ":80", ":_x"])


def as_pair(text: str, port: str) -> str:
    return f'proto=http;for="[{text}]{port}"' if ":" in text else f'for="{text}{port}";host="a,\\"b"'


@given(st.none() | forged_texts, addresses, inner, ports)
@example('for="', ip_address("192.0.2.1"), [], "")
def test_nothing_that_a_client_sends_changes_the_address_that_a_proxy_appends(
    forged: str | None, client: object, proxies: Sequence[str], port: str
) -> None:
    hops = [str(client), *proxies]
    start = [] if forged is None else [forged]
    expected = key(str(client), trusted=False)

    assert key("10.1.1.1", x_forwarded_for=", ".join([*start, *hops])) == expected
    assert key("10.1.1.1", forwarded=", ".join([*start, *(as_pair(hop, port) for hop in hops)])) == expected


@given(st.dictionaries(st.sampled_from(BOTH), forged_texts, max_size=2), st.integers(1, 3_000))
def test_hostile_headers_of_any_size_are_read_in_few_steps(headers: dict[bytes, str], times: int) -> None:
    callers = AnonymousCallers(RATE, PROXIES)

    found = callers.identify(("10.1.1.1", 1), {name: value * times for name, value in headers.items()})

    assert len(found.key) in {4, 8}
    info = callers.hop_of.cache_info()
    assert info.hits + info.misses <= 1 + 2 * 16


def test_as_many_addresses_as_there_are_take_no_memory_beyond_a_bound() -> None:
    callers = AnonymousCallers(RATE)

    for number in range(5_000):
        callers.identify((str(ip_address(number + 2**24)), 1), {})

    assert callers.hop_of.cache_info().currsize == callers.hop_of.cache_info().maxsize == 1_024


@pytest.mark.parametrize("text", ["0.0.0.0/0", "::/0", "10.0.0.1/8", "proxy.example", "", "10.0.0.0/33"])
def test_a_text_that_is_no_network_of_proxies_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        proxy_networks([text])


def test_ipv4_proxies_may_be_written_as_ipv6() -> None:
    callers = AnonymousCallers(RATE, proxy_networks(["::ffff:10.0.0.0/104"]))

    assert callers.identify(("10.9.9.9", 1), {b"x-forwarded-for": "192.0.2.1"}).key == v4("192.0.2.1")
