"""Which proxy leads to a URL, and what a proxy's URL may be."""

import pytest
from pydantic import ValidationError

from gateway.http_client.proxies import Proxy, ProxySettings, is_exempt
from tests.processes import run_python

LEYR = "https://api.leyr.example/api"


@pytest.mark.parametrize(
    ("url", "proxy"),
    [
        ("http://proxy.example", Proxy("http", "proxy.example", 80)),
        ("proxy.example:3128", Proxy("http", "proxy.example", 3128)),
        ("HTTP://proxy.example:3128/", Proxy("http", "proxy.example", 3128)),
        ("https://proxy.example", Proxy("https", "proxy.example", 443)),
        ("socks5://[::1]", Proxy("socks5", "::1", 1080)),
        ("socks5h://proxy.example:99", Proxy("socks5h", "proxy.example", 99)),
        ("http://user@proxy.example", Proxy("http", "proxy.example", 80, ("user", ""))),
        ("http://us%40er:p%3Aa%2Fss@proxy.example", Proxy("http", "proxy.example", 80, ("us@er", "p:a/ss"))),
    ],
)
def test_a_proxys_url_is_read(url: str, proxy: Proxy) -> None:
    assert Proxy.from_url(url) == proxy


@pytest.mark.parametrize(
    "url",
    [
        "http://",
        "ftp://canary.example",
        "socks4://user:canary@proxy.example",
        "http://user:canary@",
        "http://user:canary@proxy.example:0",
        "http://user:canary@proxy.example:99999",
        "http://user:canary@proxy.example:port",
        "http://user:canary@pro xy.example",
        "http://user:canary@proxy.example/path",
        "http://user:canary@proxy.example?a",
        "http://[canary",
    ],
)
def test_another_url_is_refused_without_quoting_it(url: str) -> None:
    with pytest.raises(ValueError, match="proxy's URL") as refusal:
        Proxy.from_url(url)

    assert "canary" not in str(refusal.value)
    with pytest.raises(ValidationError):
        ProxySettings.model_validate({"https_proxy": url})


@pytest.mark.parametrize(
    ("settings", "url", "port"),
    [
        ({}, LEYR, None),
        ({"https_proxy": "p:1", "http_proxy": "p:2", "all_proxy": "p:3"}, LEYR, 1),
        ({"https_proxy": "p:1", "http_proxy": "p:2", "all_proxy": "p:3"}, "http://leyr.example", 2),
        ({"http_proxy": "p:2"}, LEYR, None),
        ({"https_proxy": "p:1"}, "http://leyr.example", None),
        ({"all_proxy": "p:3"}, LEYR, 3),
        ({"all_proxy": "p:3"}, "http://leyr.example", 3),
        ({"all_proxy": "p:3", "no_proxy": "other.example, leyr.example"}, LEYR, None),
        ({"all_proxy": "p:3", "no_proxy": "*"}, LEYR, None),
        ({"all_proxy": "p:3", "no_proxy": "other.example"}, LEYR, 3),
        ({"all_proxy": "p:3"}, "http://localhost:8000", None),
        ({"all_proxy": "p:3"}, "http://127.0.0.9:8000", None),
        ({"all_proxy": "p:3"}, "http://[::1]:8000", None),
        ({"all_proxy": "p:3"}, "http://10.0.0.9:8000", 3),
    ],
)
def test_the_proxy_of_a_url_is_that_of_its_scheme_unless_it_is_exempt(
    settings: dict[str, str], url: str, port: int | None
) -> None:
    proxy = ProxySettings.model_validate(settings).proxy_for(url)

    assert (proxy and proxy.port) == port


@pytest.mark.parametrize(
    ("name", "exempt"),
    [
        ("leyr.example", True),
        ("LEYR.example", True),
        ("api.leyr.example", True),
        (".leyr.example", True),
        ("*.leyr.example", True),
        ("example", True),
        ("eyr.example", False),
        ("other.api.leyr.example", False),
        ("api.leyr.example:443", True),
        ("api.leyr.example:8443", False),
        ("", False),
        (".", False),
        ("10.0.0.0/8", False),
        ("api.leyr.example/24", False),
    ],
)
def test_a_domain_stands_for_what_is_below_it(name: str, exempt: bool) -> None:
    assert is_exempt("api.leyr.example", 443, [name]) is exempt
    assert is_exempt("API.Leyr.example.", 443, ["nothing", name]) is exempt


@pytest.mark.parametrize(
    ("host", "name", "exempt"),
    [
        ("10.1.2.3", "10.0.0.0/8", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("10.1.2.3", "10.1.2.3:443", True),
        ("10.1.2.3", "10.1.2.3:80", False),
        ("10.1.2.3", "10.1.2.4", False),
        ("11.1.2.3", "10.0.0.0/8", False),
        ("10.1.2.3", "fd00::/8", False),
        ("fd00::1", "fd00::/8", True),
        ("fd00::1", "[fd00::1]", True),
        ("fd00::1", "[fd00::1]:443", True),
        ("fd00::1", "fd00::2", False),
    ],
)
def test_a_network_stands_for_its_addresses(host: str, name: str, exempt: bool) -> None:
    assert is_exempt(host, 443, [name]) is exempt


def test_a_password_is_not_shown() -> None:
    settings = ProxySettings.model_validate({"https_proxy": "http://user:canary@proxy.example"})

    assert "canary" not in f"{settings!r}{settings}{settings.proxy_for(LEYR)!r}"


def test_httpx2_is_imported_only_where_it_is_used() -> None:
    code = "import sys, gateway.cli, gateway.app; print(sorted({'httpx2', 'httpcore2', 'h2'} & set(sys.modules)))"

    assert run_python("-c", code).stdout == "[]\n"
