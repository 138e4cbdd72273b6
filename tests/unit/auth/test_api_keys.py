"""Verification of API keys, and the file that lists them."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.auth.api_keys import ApiKeyVerifier, read_api_keys
from gateway.auth.caller import AuthSettingsError, Caller, Rate
from gateway.domain.errors import Unauthenticated
from gateway.domain.ids import NodeType, care_unit_id, node_id
from gateway.domain.models import EVERYTHING, Access, CareUnitKey

DEFAULT = Rate(50, 100)
KEY, OTHER_KEY, NEW_KEY = "key-canary-1", "key-canary-2", "nyckel-å-canary"
UNIT = CareUnitKey("webdoc", "L0_1")


def digest(key: str) -> str:
    return sha256(key.encode()).hexdigest()


FILE = f"""
[booking-web]
key_sha256 = ["{digest(KEY)}", "{digest(NEW_KEY).upper()}"]
emrs = ["webdoc", "takecare"]
care_units = ["{care_unit_id(UNIT)}", "takecare/a b/c"]
rate_per_second = 20
burst = 40

["kiosk.2"]
key_sha256 = "{digest(OTHER_KEY)}"
"""
BOOKING_WEB = Caller(
    "booking-web",
    Access(frozenset({"webdoc", "takecare"}), frozenset({UNIT, CareUnitKey("takecare", "a b/c")})),
    Rate(20, 40),
)


def on_the_wire(key: str) -> str:
    """A key's bytes, as the server decodes them."""
    return key.encode().decode("latin-1")


@pytest.fixture
def keys() -> ApiKeyVerifier:
    return read_api_keys(FILE, DEFAULT)


@pytest.mark.parametrize(
    "headers",
    [
        {b"x-api-key": KEY},
        {b"x-api-key": f"\t{KEY} "},
        {b"authorization": f"Bearer {KEY}"},
        {b"authorization": f" bEARER   {KEY}"},
        {b"authorization": f"Bearer {KEY}", b"x-api-key": KEY},
        {b"authorization": f"Bearer {KEY}", b"x-api-key": ""},
        {b"x-api-key": on_the_wire(NEW_KEY)},
        {b"authorization": f"Bearer {on_the_wire(NEW_KEY)}"},
    ],
)
async def test_an_api_key_identifies_its_caller(keys: ApiKeyVerifier, headers: dict[bytes, str]) -> None:
    assert await keys.identify(headers) == BOOKING_WEB


async def test_a_caller_without_limits_sees_everything_at_the_default_rate(keys: ApiKeyVerifier) -> None:
    assert await keys.identify({b"x-api-key": OTHER_KEY}) == Caller("kiosk.2", EVERYTHING, DEFAULT)
    await keys.close()


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "Send an API key"),
        ({b"x-api-key": " "}, "Send an API key"),
        ({b"x-api-key": "canary"}, "not known"),
        ({b"x-api-key": f"{KEY}, {KEY}"}, "not known"),
        ({b"x-api-key": KEY.upper()}, "not known"),
        ({b"x-api-key": digest(KEY)}, "not known"),
        ({b"x-api-key": "canary" * 500_000}, "not known"),
        ({b"x-api-key": "canary\xff\x00\n"}, "not known"),
        ({b"authorization": f"Bearer {KEY}", b"x-api-key": OTHER_KEY}, "different keys"),
        ({b"authorization": f"Basic {KEY}"}, "must be `Bearer`"),
        ({b"authorization": f"Basic {KEY}", b"x-api-key": KEY}, "must be `Bearer`"),
        ({b"authorization": KEY}, "must be `Bearer`"),
        ({b"authorization": "Bearer"}, "must be `Bearer`"),
        ({b"authorization": f"Bearer {KEY} {KEY}"}, "must be `Bearer`"),
        ({b"authorization": f"Bearer {KEY},Bearer {KEY}"}, "must be `Bearer`"),
    ],
)
async def test_unknown_missing_or_contradicting_keys_are_unauthenticated(
    keys: ApiKeyVerifier, headers: dict[bytes, str], message: str
) -> None:
    with pytest.raises(Unauthenticated, match=message) as refusal:
        await keys.identify(headers)

    assert "canary" not in f"{refusal.value!r} {refusal.value.message} {keys!r}"
    assert refusal.value.__context__ is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file names no caller"),
        ("= canary", r"^the file is not TOML \(at line 1, column 1\)$"),
        ('[a]\n[a]\nb = "canary"', r"^the file is not TOML \(at line 2, column 3\)$"),
        pytest.param(f"a = {'9' * 5_000}", "^the file is not TOML$", id="huge number"),
        pytest.param(f"a = {'[' * 5_000}", "^the file is not TOML$", id="deep"),
        ('a = "canary"', "^a: Input should be a valid dict"),
        ("[a]", "^a.key_sha256: Field required$"),
        ("[a]\nkey_sha256 = []", "^a.key_sha256: "),
        ("[a]\nkey_sha256 = 1", "^a.key_sha256: "),
        (
            '[a]\nkey_sha256 = "canary"',
            "^a.key_sha256: a SHA-256 digest has 64 hexadecimal digits; the key itself must",
        ),
        (f'[a]\nkey_sha256 = "{digest("a")}\\n"', "^a.key_sha256: a SHA-256 digest"),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nrate = 2', "^a.rate: Extra inputs are not permitted$"),
        (f'[a.b]\nkey_sha256 = "{digest("a")}"', "^a.key_sha256: Field required\na.b: Extra inputs"),
        (f'["ca nary"]\nkey_sha256 = "{digest("a")}"', "^table 1: a caller's name is made of"),
        (f'[""]\nkey_sha256 = "{digest("a")}"', "^table 1: "),
        (f'["canary\\n"]\nkey_sha256 = "{digest("a")}"', "^table 1: "),
        (f'[canary-19121212-1212]\nkey_sha256 = "{digest("a")}"', "^table 1: .* personal number$"),
        (f'[{"a" * 65}]\nkey_sha256 = "{digest("a")}"', "^table 1: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\n[b]\nkey_sha256 = "{digest("a").upper()}"', "^b: key_sha256: a has"),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nemrs = []', "^a.emrs: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nemrs = ["*"]', "^a.emrs: .* leave emrs out for all EHRs$"),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nemrs = "canary"', "^a.emrs: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\ncare_units = []', "^a.care_units: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\ncare_units = ["canary"]', "^a.care_units: a care unit is a node id"),
        (f'[a]\nkey_sha256 = "{digest("a")}"\ncare_units = ["webdoc/.."]', "^a.care_units: "),
        (
            f'[a]\nkey_sha256 = "{digest("a")}"\ncare_units = ["{node_id(NodeType.RESOURCE, UNIT, "canary")}"]',
            "^a.care_units: ",
        ),
        (
            f'[a]\nkey_sha256 = "{digest("a")}"\nemrs = ["webdoc"]\ncare_units = ["canary/1"]',
            "^a: care_units: one belongs to an EHR that emrs leaves out$",
        ),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nrate_per_second = 0', "^a.rate_per_second: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nrate_per_second = inf', "^a.rate_per_second: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nrate_per_second = nan', "^a.rate_per_second: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nrate_per_second = "20"', "^a.rate_per_second: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nburst = 0', "^a.burst: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nburst = 2.5', "^a.burst: "),
        (f'[a]\nkey_sha256 = "{digest("a")}"\nburst = true', "^a.burst: "),
    ],
)
def test_an_invalid_keys_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(AuthSettingsError, match=message) as refusal:
        read_api_keys(text, DEFAULT)

    assert "canary" not in str(refusal.value)
    assert digest("a") not in str(refusal.value)


@pytest.mark.parametrize("unit", ["webdoc/12345", "webdoc/L0_1", "webdoc/ö"])
async def test_a_raw_care_unit_id_may_look_like_base64(unit: str) -> None:
    keys = read_api_keys(f'[a]\nkey_sha256 = "{digest(KEY)}"\ncare_units = ["{unit}"]', DEFAULT)

    expected = Access(care_units=frozenset({CareUnitKey("webdoc", unit.removeprefix("webdoc/"))}))
    assert (await keys.identify({b"x-api-key": KEY})).access == expected


@given(st.text())
def test_any_keys_file_is_read_or_refused(text: str) -> None:
    for file in (text, f"[a]\nkey_sha256 = '''{text}'''"):
        with pytest.raises(AuthSettingsError):
            read_api_keys(file, DEFAULT)
