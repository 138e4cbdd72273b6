"""Every setting: read once from the environment, checked, and frozen.

The environment name of a field is its own name in capitals; its docstring is its line in the settings' table.
"""

import os
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.access_settings import AccessSettings
from gateway.auth.caller import is_loopback, proxy_networks
from gateway.booking_settings import BookingSettings
from gateway.fetch.cache_budget import Lifetimes
from gateway.files import FileError, read_secret
from gateway.http.csrf import Origins
from gateway.http_client.proxies import ProxySettings
from gateway.shared_settings import SharedSettings

_PREFIXES = ("LEYR_", "GATEWAY_")
_DELIVERY_SECONDS = 5


class SettingsError(Exception):
    """The configuration is wrong; the message says what to set, and quotes no value but an origin."""


class LimitSettings(BaseModel):
    """Limits on requests, operations and callers."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    gateway_max_body_bytes: int = Field(65_536, ge=1_024, le=16_777_216)
    """The longest body of a request."""
    gateway_max_header_bytes: int = Field(16_384, ge=1_024, le=1_048_576)
    """What all headers of a request may hold together, in bytes."""
    gateway_max_headers: int = Field(64, ge=8, le=1_000)
    """How many headers a request may have."""
    gateway_max_url_bytes: int = Field(8_192, ge=256, le=65_536)
    """The longest URL of a request."""
    gateway_max_json_depth: int = Field(16, ge=2, le=200)
    """How deep arrays and objects of a request's JSON may be nested."""
    gateway_max_integer_digits: int = Field(20, ge=1, le=1_000)
    """How many digits an integer in JSON or in a document may have."""
    gateway_max_tokens: int = Field(1_000, ge=10, le=100_000)
    """How many tokens a document may have."""
    gateway_max_depth: int = Field(10, ge=1, le=100)
    """How deep fields may be nested."""
    gateway_max_aliases: int = Field(30, ge=0, le=100_000)
    """How many aliases an operation may use."""
    gateway_max_root_fields: int = Field(10, ge=1, le=10_000)
    """How many root fields an operation may have."""
    gateway_max_directives: int = Field(20, ge=0, le=10_000)
    """How many directives an operation may use."""
    gateway_max_selections: int = Field(2_000, ge=1, le=1_000_000)
    """How many fields an operation may select, its fragments expanded."""
    gateway_max_errors: int = Field(20, ge=1, le=1_000)
    """How many errors an answer holds at most."""
    gateway_max_upstream_calls: int = Field(1_000, ge=1, le=100_000)
    """How many upstream calls an operation may need, were nothing remembered."""
    gateway_max_timeslots: int = Field(100_000, ge=1, le=10_000_000)
    """How many timeslots an answer may hold."""
    gateway_max_answer_mb: int = Field(64, ge=1, le=1_024)
    """How many MiB an answer's data may take."""
    gateway_max_upstream_mb: int = Field(10, ge=1, le=32)
    """How many MiB an upstream answer may take; for timeslots of which there are more, shorter windows are asked."""
    gateway_max_list_items: int = Field(1_000, ge=1, le=100_000)
    """How many items a list in a field's arguments may hold."""
    gateway_max_work: int = Field(100_000, ge=100, le=100_000_000)
    """How much work an operation may be: one unit is one run of a resolver, some microseconds of a processor."""
    gateway_max_concurrent_requests: int = Field(512, ge=1, le=100_000)
    """How many GraphQL requests are answered at a time; of more, those of whoever has the most get 503."""
    gateway_max_unsent_mb: int = Field(512, ge=1, le=65_536)
    """What large answers that clients have not read yet may hold, in MiB; a caller gets no more than it leaves free."""
    gateway_max_connections: int = Field(10_000, ge=1, le=1_000_000)
    """How many connections clients may hold open; more take the places of idle ones, or are dropped."""
    gateway_receive_seconds: float = Field(10, gt=0, le=600)
    """For how long a request may take to arrive, and a client may take nothing of its answer."""
    gateway_keep_alive_seconds: float = Field(75, gt=0, le=3_600)
    """For how long a connection stays open without a request; longer than that of the load balancer in front."""
    gateway_drain_seconds: float = Field(5, ge=0, le=600)
    """For how long after SIGTERM requests are still taken, while `/readyz` says 503."""
    gateway_deadline_seconds: float = Field(10, gt=0, le=120)
    """For how long a request may wait for upstream; what is not there then is null."""
    gateway_attempt_seconds: float = Field(5, gt=0, le=120)
    """For how long an attempt for a list may take, or twice as long as the last; free times are only slow after it."""
    gateway_lookup_seconds: float = Field(4, gt=0, le=60)
    """For how long a call waits while the host of `LEYR_BASE_URL` is looked up."""
    gateway_connect_seconds: float = Field(2, gt=0, le=60)
    """For how long each of that host's addresses is tried; the next one begins after a quarter of a second."""
    gateway_tls_seconds: float = Field(3, gt=0, le=60)
    """For how long a new connection to it may take to agree on TLS."""
    gateway_call_seconds: float = Field(20, gt=0, le=600, validate_default=False)
    """For how long an upstream call may go on for those who ask next, from its beginning; no less than the deadline."""
    gateway_calls_per_ehr: int = Field(64, ge=1, le=10_000)
    """How many upstream calls an EHR gets at a time; fewer after it said 429."""
    gateway_rate_per_second: float = Field(50, gt=0, le=1_000_000)
    """How many requests a second a caller may send: a key, a token's subject, or an anonymous client's address."""
    gateway_rate_burst: int = Field(100, ge=1, le=1_000_000)
    """How many requests a caller may send at once after a pause."""
    gateway_calls_per_minute: int = Field(2_000, ge=1, le=10_000_000)
    """How many upstream calls a minute a caller's requests may take, half of them at once."""

    @field_validator("gateway_call_seconds")
    @classmethod
    def _check_call_seconds(cls, value: float, info: ValidationInfo) -> float:
        if value < info.data.get("gateway_deadline_seconds", 0):
            raise ValueError("less than GATEWAY_DEADLINE_SECONDS, so a call would end before those who wait for it")
        return value

    @property
    def grace_seconds(self) -> float:
        """How long the last requests may take after the drain: to arrive, to wait for upstream, and to be delivered."""
        return self.gateway_receive_seconds + self.gateway_deadline_seconds + _DELIVERY_SECONDS


class Settings(LimitSettings, AccessSettings, BookingSettings, SharedSettings, ProxySettings, BaseSettings):
    """The gateway's settings."""

    model_config = SettingsConfigDict(
        frozen=True, hide_input_in_errors=True, env_ignore_empty=True, use_attribute_docstrings=True
    )

    leyr_base_url: str = "https://api.leyr.io/api"
    """Where Leyr's API is, up to and with `/api`."""
    leyr_allow_http: bool = False
    """Whether `LEYR_BASE_URL` may be http to another machine, which shows the secret to whoever is on the way."""
    leyr_http2: bool = False
    """Whether Leyr is asked over HTTP/2; over HTTP/1.1 still where it is not spoken."""
    leyr_client_id: SecretStr | None = None
    """The application's client id. Required; `LEYR_CLIENT_ID_FILE` may name a file that holds it instead."""
    leyr_client_secret: SecretStr | None = None
    """The application's client secret. Required; `LEYR_CLIENT_SECRET_FILE` may name a file that holds it instead."""
    leyr_emrs: Annotated[tuple[str, ...], NoDecode] = ("webdoc",)
    """Comma-separated codes of the EHRs to offer; the first is the default."""
    leyr_profiles: Path | None = None
    """A TOML file with one table an EHR code, laid over the shipped profiles."""
    gateway_host: str = "127.0.0.1"
    """The address to listen on."""
    gateway_port: int = Field(8000, ge=0, le=65535)
    """The port to listen on; 0 takes a free one."""
    gateway_workers: int = Field(1, ge=1, le=256)
    """How many processes serve, each on a processor of its own (Linux); `gateway dev` is always one."""
    gateway_max_window_days: int = Field(92, ge=1, le=3660)
    """The widest window that a query may ask, in days of the calendar where the care unit lies."""
    gateway_cache_catalog_seconds: float = Field(300, ge=0, le=86_400)
    """For how long care units, resources and services count as fresh; 0 keeps none."""
    gateway_cache_catalog_stale_seconds: float = Field(86_400, ge=0, le=604_800)
    """For how long after that they are served while they are fetched anew."""
    gateway_cache_timeslots_seconds: float = Field(15, ge=0, le=30)
    """For how long free times count as fresh; 0 keeps none."""
    gateway_cache_timeslots_stale_seconds: float = Field(15, ge=0, le=30)
    """For how long after that they are served while they are fetched anew."""
    gateway_cache_max_mb: int = Field(64, ge=1, le=65_536)
    """What all caches together may take in memory, in MiB, in each worker."""
    gateway_kept_heap_mb: int = Field(64, ge=0, le=1_024)
    """How much freed memory to keep for the next large answer (glibc), in MiB; 0 leaves that to the C library."""
    gateway_introspection: bool = False
    """Whether clients may introspect and get suggestions; on in `gateway dev` unless set."""
    gateway_schema: bool = True
    """Whether whoever may ask gets the schema at `/schema.graphql`, for tools that generate code from it."""
    gateway_graphiql: bool = False
    """Whether browsers get GraphiQL at `/graphql`; on in `gateway dev` unless set."""
    gateway_cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated origins whose pages may ask, such as `https://book.example` or `https://*.preview.example`."""
    gateway_metrics_port: int | None = Field(None, ge=0, le=65535)
    """The port of Prometheus metrics at `/metrics`; none unless set, 0 takes a free one."""
    gateway_metrics_host: str = "127.0.0.1"
    """The address of the metrics' port."""
    gateway_traces_url: str | None = None
    """The OTLP/HTTP URL of an OpenTelemetry collector, such as `http://127.0.0.1:4318`."""
    gateway_traces_ratio: float = Field(1, ge=0, le=1)
    """The share of operations to trace; a client's `traceparent` says it for its own."""
    gateway_log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least important log events to write."""

    @field_validator(
        "leyr_emrs", "gateway_cors_origins", "gateway_trusted_proxies", "gateway_anonymous_patient_by", mode="before"
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("leyr_base_url", "gateway_traces_url")
    @classmethod
    def _check_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://[\x21-\x7e]+", value):
            raise ValueError("not an http or https URL")
        try:
            parts = urlsplit(value)
            host = parts.hostname if parts.port != 0 else None
        except ValueError:  # It quotes what stands in the port's place, which may be a password.
            host = None
        if not re.fullmatch(r"[A-Za-z0-9.:_-]+", host or ""):
            raise ValueError("has no host that can be reached, or no port")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("may hold a host and a path only")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _check_secret_is_not_sent_in_clear(self) -> Self:
        parts = urlsplit(self.leyr_base_url)
        if parts.scheme == "http" and not self.leyr_allow_http and not is_loopback(parts.hostname or ""):
            raise ValueError(
                "LEYR_BASE_URL is http to another machine, which would send the client secret in clear: "
                "write https, or set LEYR_ALLOW_HTTP=yes"
            )
        return self

    @model_validator(mode="after")
    def _check_journal_has_a_store(self) -> Self:
        if self.gateway_journal == "shared" and self.gateway_shared_url is None:
            raise ValueError("GATEWAY_JOURNAL=shared is kept in the store of GATEWAY_SHARED_URL: set that too")
        return self

    @field_validator("leyr_client_id", "leyr_client_secret")
    @classmethod
    def _check_header_value(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("may hold visible ASCII characters only")
        return value

    @field_validator("leyr_emrs")
    @classmethod
    def _check_emr_codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("names no EHR")
        if any(not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", code) for code in value):
            raise ValueError("an EHR code is made of letters, digits, `-`, `_` and `.`")
        return tuple(dict.fromkeys(value))

    @field_validator("gateway_cors_origins")
    @classmethod
    def _check_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return Origins(value).names

    @field_validator("gateway_trusted_proxies")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            proxy_networks(value)
        except ValueError:
            raise ValueError("not networks of proxies in CIDR notation, such as 10.0.0.0/8 or ::1/128") from None
        return value

    @field_validator("gateway_log_level", mode="before")
    @classmethod
    def _lower_case(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def widest_window(self) -> timedelta:
        """The widest window that a query may ask."""
        return timedelta(days=self.gateway_max_window_days)

    @property
    def catalog_lifetimes(self) -> Lifetimes:
        """How long the catalogue is fresh, and how long after that it is served stale."""
        return Lifetimes(self.gateway_cache_catalog_seconds, self.gateway_cache_catalog_stale_seconds)

    @property
    def timeslots_lifetimes(self) -> Lifetimes:
        """How long free times are fresh, and how long after that they are served stale."""
        return Lifetimes(self.gateway_cache_timeslots_seconds, self.gateway_cache_timeslots_stale_seconds)

    def credentials(self) -> tuple[str, SecretStr]:
        """Leyr's client id and client secret, which go together. Raises SettingsError where one is missing."""
        if self.leyr_client_id is None or self.leyr_client_secret is None:
            missing = [n.upper() for n in ("leyr_client_id", "leyr_client_secret") if getattr(self, n) is None]
            raise SettingsError(
                f"Set {' and '.join(missing)} to the credentials of your application in Leyr's Developer Portal, "
                "or run `gateway dev` to try the gateway on simulated data."
            )
        return self.leyr_client_id.get_secret_value(), self.leyr_client_secret


_SECRETS = [name for name, field in Settings.model_fields.items() if field.annotation == SecretStr | None]


def load_settings(**overrides: Any) -> Settings:
    """Read the environment, with `overrides` by field name laid over it. Raises SettingsError."""
    _check_names(os.environ)
    try:
        given = {name: value for name, value in overrides.items() if value is not None}
        return Settings(**(_secrets_in_files(os.environ) | given))
    except ValidationError as error:
        raise SettingsError("\n".join(_error_lines(error))) from None


def settings_table() -> str:
    """The settings as a Markdown table, for docs/running.md."""
    rows = ["| Name | Default | Meaning |", "| --- | --- | --- |"]
    groups = (ProxySettings, AccessSettings, BookingSettings, SharedSettings, LimitSettings)
    for name in (*Settings.__annotations__, *(name for group in groups for name in group.model_fields)):
        info = Settings.model_fields[name]
        default = ",".join(info.default) if isinstance(info.default, tuple) else info.default
        shown = {"True": "`on`", "False": "`off`", "None": "", "": ""}.get(str(default), f"`{default}`")
        rows.append(f"| `{name.upper()}` | {shown} | {info.description} |")
    return "\n".join(rows) + "\n"


def _secrets_in_files(environment: Mapping[str, str]) -> dict[str, str]:
    """The secrets whose files the environment names, by field name. Raises SettingsError."""
    given = {name.upper(): value for name, value in environment.items() if value}
    found = {}
    for field in _SECRETS:
        name = field.upper()
        if (path := given.get(f"{name}_FILE")) is None:
            continue
        if name in given:
            raise SettingsError(f"{name} and {name}_FILE are both set; set one of them")
        try:
            found[field] = read_secret(Path(path))
        except FileError as error:
            raise SettingsError(f"{name}_FILE: the file cannot be read: {error}") from None
    return found


def _check_names(names: Iterable[str]) -> None:
    known = {name.upper() for name in Settings.model_fields} | {f"{name.upper()}_FILE" for name in _SECRETS}
    ours = [name for name in names if name.upper().startswith(_PREFIXES)]
    unknown = sorted(name for name in ours if name.upper() not in known)
    if unknown:
        raise SettingsError("\n".join(_unknown_name(name, known) for name in unknown))


def _unknown_name(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name.upper(), known, n=1, cutoff=0.75)
    hint = f"; did you mean {close[0]}?" if close else "; `gateway settings` lists those there are"
    return f"{name} is not a setting of this gateway{hint}"


def _error_lines(error: ValidationError) -> list[str]:
    found = error.errors(include_url=False, include_input=False, include_context=False)
    lines = ((".".join(map(str, each["loc"])).upper(), each["msg"].removeprefix("Value error, ")) for each in found)
    return [f"{name}: {text}" if name else text for name, text in lines]
