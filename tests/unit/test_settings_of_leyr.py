"""Settings of the way to Leyr: the secret is never sent in clear unless that is wanted."""

import pytest

from gateway.settings import Settings, SettingsError, load_settings


def settings_of(url: str, monkeypatch: pytest.MonkeyPatch, **environ: str) -> Settings:
    for name, value in {"LEYR_BASE_URL": url, **environ}.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.mark.parametrize(
    "url",
    [
        "http://leyr.example/api", "http://10.0.0.7:8080/api", "HTTP://leyr.example/api", "http://localhost.example/api",
        "http://0.0.0.0/api", "http://127.0.0.1.example/api", "http://[fd00::1]/api", "http://notlocalhost/api",
    ],
)  # fmt: skip
def test_http_to_another_machine_is_refused_unless_allowed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^LEYR_BASE_URL") as refusal:
        settings_of(url, monkeypatch)

    assert url not in str(refusal.value)
    if url.startswith("http:"):
        assert "LEYR_ALLOW_HTTP=yes" in str(refusal.value)
        assert settings_of(url, monkeypatch, LEYR_ALLOW_HTTP="yes").leyr_base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:9000/api", "http://127.9.9.9/api", "http://[::1]:9000/api", "http://localhost:9000/api",
        "http://LOCALHOST./api", "http://leyr.localhost/api", "https://leyr.example/api",
    ],
)  # fmt: skip
def test_http_to_this_machine_and_https_are_taken(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings_of(url, monkeypatch).leyr_base_url == url


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"])
def test_proxies_are_read_in_either_case_and_not_shown(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of("https://leyr.example/api", monkeypatch, **{name: "http://user:canary@proxy.example:3128"})

    proxy = settings.proxy_for(settings.leyr_base_url)

    assert proxy is not None
    assert (proxy.host, proxy.port, proxy.login) == ("proxy.example", 3128, ("user", "canary"))
    assert "canary" not in f"{settings!r}"


@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_exempt_names_are_read_in_either_case(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    proxies = {"HTTPS_PROXY": "http://proxy.example", name: "other.example,leyr.example"}

    assert settings_of("https://leyr.example/api", monkeypatch, **proxies).proxy_for("https://leyr.example") is None


def test_a_wrong_proxy_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=r"^HTTPS_PROXY: a proxy's URL begins with http") as refusal:
        settings_of("https://leyr.example/api", monkeypatch, HTTPS_PROXY="socks4://user:canary@proxy.example")

    assert "canary" not in str(refusal.value)


@pytest.mark.parametrize("name", ["LEYR_BASE_URL", "GATEWAY_TRACES_URL"])
@pytest.mark.parametrize("url", ["https://me:canary", "https://me:canary/api", "https://me:99999", "https://[::1/api"])
def test_what_stands_in_the_place_of_a_port_is_not_shown(name: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SettingsError, match=rf"^{name}: has no host that can be reached, or no port$"):
        settings_of("https://leyr.example/api", monkeypatch, **{name: url})
