"""Settings: read once, checked, and never shown where they are secret."""

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from gateway.configuration import profiles_of
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy
from gateway.fetch.profiles import ProfileOverride
from gateway.settings import Settings, SettingsError, load_settings, settings_table

SECRET = "s3cret-of-the-test"
Load = Callable[..., Settings]


@pytest.fixture
def profiles_file(tmp_path: Path) -> Callable[[str], str]:
    def write(text: str) -> str:
        path = tmp_path / "profiles.toml"
        path.write_text(text, encoding="utf-8")
        return str(path)

    return write


def test_nothing_set_means_the_defaults(load: Load) -> None:
    settings = load()

    assert settings.leyr_base_url == "https://api.leyr.io/api"
    assert settings.leyr_emrs == ("webdoc",)
    assert settings.gateway_host == "127.0.0.1"
    assert settings.widest_window == timedelta(days=92)
    assert not settings.gateway_graphiql


@pytest.mark.parametrize(
    ("name", "suggestion"),
    [
        ("LEYR_CLIENT_SECRETS", "did you mean LEYR_CLIENT_SECRET?"),
        ("LEYR_EMR", "did you mean LEYR_EMRS?"),
        ("GATEWAY_PROT", "did you mean GATEWAY_PORT?"),
        (f"GATEWAY_{40 * 'Q'}", "`gateway settings`"),
        ("GATEWAY_DIR", "did you mean GATEWAY_PORT?"),
        ("GATEWAY_INTERFACE", "`gateway settings`"),
    ],
)
def test_an_unknown_name_is_refused_with_a_suggestion(load: Load, name: str, suggestion: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(**{name: SECRET})

    assert str(refusal.value).startswith(f"{name} is not a setting")
    assert suggestion in str(refusal.value)
    assert SECRET not in str(refusal.value)


def test_every_unknown_name_is_listed(load: Load) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(LEYR_A="1", GATEWAY_B="2")

    assert [line.split()[0] for line in str(refusal.value).splitlines()] == ["GATEWAY_B", "LEYR_A"]


@pytest.mark.parametrize("name", ["LEYRISH", "PATHS", "MY_GATEWAY_PORT"])
def test_names_of_other_programs_are_ignored(load: Load, name: str) -> None:
    assert load(**{name: "x"}) == load()


def test_secrets_are_never_shown(load: Load) -> None:
    settings = load(LEYR_CLIENT_ID=SECRET, LEYR_CLIENT_SECRET=SECRET)

    assert SECRET not in f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.credentials() == (SECRET, SecretStr(SECRET))


@pytest.mark.parametrize("name", ["LEYR_CLIENT_ID", "LEYR_CLIENT_SECRET"])
@pytest.mark.parametrize("value", [f"{SECRET} x", f"{SECRET}\n", f"{SECRET}å"])
def test_a_credential_that_fits_no_header_is_refused_and_not_shown(load: Load, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(**{name: value})

    assert str(refusal.value) == f"{name}: may hold visible ASCII characters only"
    assert refusal.value.__suppress_context__


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, "LEYR_CLIENT_ID and LEYR_CLIENT_SECRET"),
        ({"LEYR_CLIENT_ID": "x"}, "LEYR_CLIENT_SECRET"),
        ({"LEYR_CLIENT_SECRET": "x"}, "LEYR_CLIENT_ID"),
        ({"LEYR_CLIENT_ID": "x", "LEYR_CLIENT_SECRET": ""}, "LEYR_CLIENT_SECRET"),
    ],
)
def test_missing_credentials_are_named_with_a_remedy(load: Load, environ: dict[str, str], missing: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(**environ).credentials()

    assert str(refusal.value).startswith(f"Set {missing} to")
    assert "gateway dev" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "codes"),
    [
        ("webdoc", ("webdoc",)),
        ("webdoc,kaddio", ("webdoc", "kaddio")),
        (" kaddio , webdoc ,, kaddio ", ("kaddio", "webdoc")),
        ("Acuity-2_b.c", ("Acuity-2_b.c",)),
        ("", ("webdoc",)),
    ],
)
def test_ehr_codes_are_a_comma_list_in_order(load: Load, text: str, codes: tuple[str, ...]) -> None:
    settings = load(LEYR_EMRS=text)

    assert settings.leyr_emrs == codes
    assert [profile.code for profile in profiles_of(settings)] == list(codes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LEYR_EMRS", ","),
        ("LEYR_EMRS", "web doc"),
        ("LEYR_EMRS", "../x"),
        ("LEYR_EMRS", "x" * 65),
        ("LEYR_BASE_URL", "api.leyr.io"),
        ("LEYR_BASE_URL", "ftp://leyr.example"),
        ("LEYR_BASE_URL", "https://"),
        ("LEYR_BASE_URL", f"https://user:{SECRET}@leyr.example"),
        ("LEYR_BASE_URL", f"https://leyr.example?key={SECRET}"),
        ("LEYR_BASE_URL", "https://leyr.example#x"),
        ("GATEWAY_PORT", "65536"),
        ("GATEWAY_PORT", "-1"),
        ("GATEWAY_PORT", SECRET),
        ("GATEWAY_MAX_WINDOW_DAYS", "0"),
        ("GATEWAY_AUTH", SECRET),
        ("GATEWAY_GRAPHIQL", "perhaps"),
        ("GATEWAY_CORS_ORIGINS", "*"),
        ("GATEWAY_CORS_ORIGINS", "https://book.example/path"),
        ("GATEWAY_CORS_ORIGINS", "https://book.example,null"),
        ("GATEWAY_LOG_LEVEL", "loud"),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name_and_not_quoted(load: Load, name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(**{name: value})

    assert str(refusal.value).startswith(f"{name}: ")
    assert SECRET not in str(refusal.value)


def test_values_are_read_as_people_write_them(load: Load) -> None:
    settings = load(
        LEYR_BASE_URL="http://127.0.0.1:8001/api/",
        GATEWAY_GRAPHIQL="on",
        GATEWAY_LOG_LEVEL="WARNING",
        GATEWAY_CORS_ORIGINS="https://book.example, http://localhost:3000",
    )

    assert settings.leyr_base_url == "http://127.0.0.1:8001/api"
    assert settings.gateway_graphiql
    assert settings.gateway_log_level == "warning"
    assert settings.gateway_cors_origins == ("https://book.example", "http://localhost:3000")


def test_overrides_that_are_given_replace_the_environment(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    monkeypatch.setenv("GATEWAY_PORT", "1234")

    assert load_settings(gateway_port=99).gateway_port == 99
    assert load_settings(gateway_port=None).gateway_port == 1234


def test_idle_connections_stay_open_for_longer_than_load_balancers_keep_theirs(load: Load) -> None:
    # 60 seconds are the default of nginx (keepalive_timeout of an upstream) and of AWS's Application Load Balancer.
    assert load().gateway_keep_alive_seconds > 60


def test_settings_are_frozen(load: Load) -> None:
    settings = load()

    with pytest.raises(ValidationError):
        settings.gateway_port = 1


def test_a_profiles_file_overrides_the_shipped_profile(load: Load, profiles_file: Callable[[str], str]) -> None:
    path = profiles_file("""
        [takecare]
        longest_window_days = 7
        names_service = false
        [newcomer]
        name = "New Comer"
        filter_policy = "both"
        time_zone = "Europe/Helsinki"
    """)

    takecare, newcomer = profiles_of(load(LEYR_EMRS="takecare,newcomer", LEYR_PROFILES=path))

    assert (takecare.name, takecare.filter_policy) == ("TakeCare", FilterPolicy.ANY_ONE)
    assert takecare.longest_window == timedelta(days=7)
    assert (newcomer.name, newcomer.filter_policy) == ("New Comer", FilterPolicy.BOTH)
    assert newcomer.time_zone.key == "Europe/Helsinki"
    assert newcomer.longest_window is None
    assert (takecare.names_resource, takecare.names_service) == (True, False)
    assert (newcomer.names_resource, newcomer.names_service) == (True, True)


def test_profiles_file_sets_whether_an_ehr_takes_past_instants(load: Load, profiles_file: Callable[[str], str]) -> None:
    path = profiles_file("[takecare]\npast = false")

    webdoc, takecare = profiles_of(load(LEYR_EMRS="webdoc,takecare", LEYR_PROFILES=path))

    assert (webdoc.past, takecare.past) == (True, False)


def test_profiles_file_sets_the_time_zone_of_a_care_unit(load: Load, profiles_file: Callable[[str], str]) -> None:
    path = profiles_file("""
        [webdoc.care_units."åsen/1"]
        time_zone = "Europe/Helsinki"
        [webdoc.care_units.L0_2]
    """)

    (webdoc,) = profiles_of(load(LEYR_EMRS="webdoc", LEYR_PROFILES=path))

    assert {unit: zone.key for unit, zone in webdoc.unit_time_zones.items()} == {"åsen/1": "Europe/Helsinki"}
    assert webdoc.time_zone.key == "Europe/Stockholm"


def test_a_profile_override_sets_only_what_it_names() -> None:
    unowned = EhrProfile("x", "X", names_resource=False, names_service=False)

    over = ProfileOverride(names_resource=True).applied_to(unowned)

    assert (over.names_resource, over.names_service) == (True, False)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[webdoc]\nlongest_window = 7", "LONGEST_WINDOW"),
        ("[webdoc]\nlongest_window_days = 0", "LONGEST_WINDOW_DAYS"),
        ('[webdoc]\ntime_zone = "Mars/Olympus"', "TIME_ZONE: not a known IANA time zone"),
        ('[webdoc]\ntime_zone = "../secret"', "TIME_ZONE: not a known IANA time zone"),
        ('[webdoc]\ntime_zone = ""', "TIME_ZONE: not a known IANA time zone"),
        ('[webdoc]\nfilter_policy = "sometimes"', "FILTER_POLICY"),
        ('[webdoc]\nname = ""', "NAME"),
        ('[webdoc]\nnames_resource = "no"', "NAMES_RESOURCE"),
        ("[webdoc]\nnames_service = 0", "NAMES_SERVICE"),
        ("[webdoc]\npast = 0", "[webdoc] PAST"),
        (
            '[webdoc.care_units.L0_1]\ntime_zone = "Mars/Olympus"',
            "[webdoc.care_units.L0_1] TIME_ZONE: not a known IANA time zone",
        ),
        ('[webdoc.care_units.l0_1]\ntime_zone = "zone.tab"', "[webdoc.care_units.l0_1] TIME_ZONE: not a known"),
        ("[webdoc.care_units.L0_1]\nfilter_policy = 'both'", "[webdoc.care_units.L0_1] FILTER_POLICY"),
        ("[webdoc.care_units]\nL0_1 = 'Europe/Oslo'", "[webdoc.care_units] L0_1"),
        ("webdoc = 1", "LEYR_PROFILES"),
        ("[webdoc", "not TOML"),
        pytest.param(f"webdoc = {'9' * 5_000}", "not TOML", id="huge number"),
        pytest.param(f"webdoc = {'[' * 5_000}", "not TOML", id="deep"),
    ],
)
def test_a_wrong_profiles_file_is_refused(load: Load, profiles_file: Callable[[str], str], text: str, why: str) -> None:
    settings = load(LEYR_PROFILES=profiles_file(text))

    with pytest.raises(SettingsError) as refusal:
        profiles_of(settings)

    assert str(refusal.value).startswith("LEYR_PROFILES: ")
    assert why in str(refusal.value)


def test_a_profiles_file_that_is_not_there_is_refused(load: Load, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="LEYR_PROFILES: the file cannot be read"):
        profiles_of(load(LEYR_PROFILES=str(tmp_path / "none.toml")))


def test_the_table_has_a_row_for_each_setting() -> None:
    rows = settings_table().splitlines()[2:]

    assert sorted(row.split("`")[1] for row in rows) == sorted(name.upper() for name in Settings.model_fields)
    assert all(row.count("|") == 4 and row.rstrip(" |") for row in rows)


@pytest.mark.parametrize(
    ("text", "networks"),
    [("", ()), (" 10.0.0.0/8 ,, ::1 ", ("10.0.0.0/8", "::1")), ("127.0.0.1,fd00::/8", ("127.0.0.1", "fd00::/8"))],
)
def test_trusted_proxies_are_a_comma_list_of_networks(load: Load, text: str, networks: tuple[str, ...]) -> None:
    assert load(GATEWAY_TRUSTED_PROXIES=text).gateway_trusted_proxies == networks


@pytest.mark.parametrize("text", ["proxy.example", "10.0.0.1/8", "0.0.0.0/0", "10.0.0.0/8, ::/0", "10.0.0.0/8;::1"])
def test_trusted_proxies_that_are_no_networks_are_refused_and_not_shown(load: Load, text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(GATEWAY_TRUSTED_PROXIES=text)

    assert str(refusal.value).startswith("GATEWAY_TRUSTED_PROXIES: not networks of proxies in CIDR notation")
    assert text not in str(refusal.value)


def test_calls_that_would_end_before_the_requests_that_wait_for_them_are_refused(load: Load) -> None:
    with pytest.raises(SettingsError, match=r"^GATEWAY_CALL_SECONDS: less than GATEWAY_DEADLINE_SECONDS"):
        load(GATEWAY_DEADLINE_SECONDS="10", GATEWAY_CALL_SECONDS="9.5")

    assert load(GATEWAY_DEADLINE_SECONDS="10", GATEWAY_CALL_SECONDS="10").gateway_call_seconds == 10
    assert load(GATEWAY_DEADLINE_SECONDS="60").gateway_deadline_seconds == 60, "its calls then take as long"


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"GATEWAY_API_KEYS": "/x"}, "GATEWAY_API_KEYS would let everyone in as it is: set GATEWAY_AUTH=api-keys"),
        ({"GATEWAY_JWT_JWKS": "/x", "GATEWAY_AUTH": ""}, "GATEWAY_JWT_JWKS would let everyone in as it is: set"),
        (
            {"GATEWAY_JWT_EMRS_CLAIM": "ehrs"},
            "GATEWAY_JWT_EMRS_CLAIM would let everyone in as it is: set",
        ),
    ],
)
def test_settings_of_callers_without_saying_that_they_count_are_refused(
    load: Load, environ: dict[str, str], said: str
) -> None:
    with pytest.raises(SettingsError) as refusal:
        load(**environ)

    assert str(refusal.value).startswith(said)


def test_whoever_says_anonymous_may_keep_other_settings_of_callers(load: Load) -> None:
    assert load(GATEWAY_AUTH="anonymous", GATEWAY_API_KEYS="/x").gateway_auth == "anonymous"


def test_a_profile_of_an_ehr_that_is_not_offered_is_refused(load: Load, profiles_file: Callable[[str], str]) -> None:
    with pytest.raises(SettingsError) as refusal:
        profiles_of(load(LEYR_EMRS="webdoc,kaddio", LEYR_PROFILES=profiles_file("[webdoc]\n[kadio]\n[takecare]")))

    assert str(refusal.value).splitlines() == [
        "LEYR_PROFILES: [kadio]: not in LEYR_EMRS, which has webdoc, kaddio",
        "LEYR_PROFILES: [takecare]: not in LEYR_EMRS, which has webdoc, kaddio",
    ]


def test_a_profiles_file_that_is_a_fifo_is_refused_at_once(load: Load, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")

    with pytest.raises(SettingsError, match="the file cannot be read: it is not a regular file"):
        profiles_of(load(LEYR_PROFILES=str(tmp_path / "fifo")))
