"""The settings about the store that processes share: forms of its URL, secrets in files, errors that quote nothing."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.settings import Settings, SettingsError
from gateway.shared_settings import SharedSettings
from gateway.shared_store.address import StoreAddress

Load = Callable[..., Settings]
SECRET = "pass%2Fword%40canary"
PLAIN = "pass/word@canary"


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://store.example", StoreAddress("store.example")),
        ("REDIS://Store.example:7000/", StoreAddress("store.example", 7_000)),
        ("redis://10.0.0.1/15", StoreAddress("10.0.0.1", database=15)),
        ("valkey://[::1]:6380/2", StoreAddress("::1", 6_380, database=2)),
        ("rediss://store.example", StoreAddress("store.example", is_encrypted=True)),
        ("valkeys://u@store.example", StoreAddress("store.example", username="u", is_encrypted=True)),
        (f"redis://:{SECRET}@h", StoreAddress("h", password=PLAIN)),
        (f"redis://us%C3%A5r:{SECRET}@h:1/3", StoreAddress("h", 1, database=3, username="usår", password=PLAIN)),
        ("unix:///run/valkey.sock", StoreAddress(path="/run/valkey.sock")),
        ("unix:/run/valkey.sock?db=4", StoreAddress(path="/run/valkey.sock", database=4)),
        (f"unix://u:{SECRET}@/run/a%20b", StoreAddress(path="/run/a b", username="u", password=PLAIN)),
    ],
)
def test_a_url_names_an_address(load: Load, url: str, address: StoreAddress) -> None:
    assert load(GATEWAY_SHARED_URL=url).store_address == address


@pytest.mark.parametrize(
    "url",
    [
        f"http://u:{SECRET}@h",
        f"redis://u:{SECRET}@h:port",
        f"redis://u:{SECRET}@h:0",
        f"redis://u:{SECRET}@h:65536",
        f"redis://u:{SECRET}@h/name",
        f"redis://u:{SECRET}@h/-1",
        f"redis://u:{SECRET}@h/0?ssl=true",
        f"redis://u:{SECRET}@h/0#x",
        f"redis://u:{SECRET}@[::1",
        f"redis://u:{SECRET}@",
        f"redis://{SECRET}/@h",
        f"redis://u:{SECRET}@h h",
        f"unix://u:{SECRET}@host/run/s",
        f"unix://u:{SECRET}@",
        f"unix://u:{SECRET}@/",
        f"unix:///run/{SECRET}?db=x",
        f"unix:///run/{SECRET}%00",
        f"unix:///run/{SECRET}#x",
        SECRET,
    ],
)
def test_what_is_no_address_is_said_without_quoting_it(load: Load, url: str) -> None:
    with pytest.raises(SettingsError, match="GATEWAY_SHARED_URL: ") as error:
        load(GATEWAY_SHARED_URL=url)
    assert "canary" not in str(error.value)


@given(st.text(max_size=60), st.sampled_from(["", "redis://", "rediss://u:p@", "unix://", "unix:///"]))
def test_any_url_is_an_address_or_said_to_be_none(rest: str, scheme: str) -> None:
    try:
        address = SharedSettings.model_validate({"gateway_shared_url": scheme + rest}).store_address
    except ValueError:
        return
    assert address is not None
    assert 0 < address.port < 65_536
    assert bool(address.path) != (scheme + rest).lower().lstrip().startswith(("redis", "valkey"))


def test_nothing_is_shared_unless_it_is_set(load: Load) -> None:
    assert load().store_address is None


def test_secrets_may_stand_in_files_and_go_before_those_of_the_url(load: Load, tmp_path: Path) -> None:
    (tmp_path / "url").write_text("redis://u:former@h\n")
    (tmp_path / "password").write_text(f"{PLAIN}\n")
    settings = load(
        GATEWAY_SHARED_URL_FILE=str(tmp_path / "url"), GATEWAY_SHARED_PASSWORD_FILE=str(tmp_path / "password")
    )
    assert settings.store_address == StoreAddress("h", username="u", password=PLAIN)
    assert load(GATEWAY_SHARED_URL="redis://u:p@h", GATEWAY_SHARED_USERNAME="v").store_address == StoreAddress(
        "h", username="v", password="p"
    )


def test_nothing_secret_shows_in_what_is_printed(load: Load) -> None:
    settings = load(GATEWAY_SHARED_URL=f"redis://name-canary:{SECRET}@h", GATEWAY_SHARED_PASSWORD="other-canary")
    assert "canary" not in f"{settings!r}{settings.store_address!r}{settings!s}"


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ({"GATEWAY_SHARED_PASSWORD": "canary"}, "GATEWAY_SHARED_URL: set that too"),
        ({"GATEWAY_SHARED_USERNAME": "canary"}, "GATEWAY_SHARED_URL: set that too"),
        ({"GATEWAY_SHARED_CA": "/canary"}, "GATEWAY_SHARED_URL: set that too"),
        ({"GATEWAY_SHARED_URL": "redis://h", "GATEWAY_SHARED_CA": "/canary"}, "for rediss:// and valkeys://"),
        ({"GATEWAY_SHARED_URL": "rediss://h", "GATEWAY_SHARED_CA": "/canary"}, "GATEWAY_SHARED_CA names no file"),
        ({"GATEWAY_SHARED_TIMEOUT_MS": "1"}, "GATEWAY_SHARED_TIMEOUT_MS"),
        ({"GATEWAY_SHARED_PREFIX": "a b"}, "GATEWAY_SHARED_PREFIX"),
    ],
)
def test_what_does_not_go_together_is_said(load: Load, names: dict[str, str], words: str) -> None:
    with pytest.raises(SettingsError, match=words) as error:
        load(**names)
    assert "canary" not in str(error.value)
