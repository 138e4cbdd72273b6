"""Every setting: read once from the environment, checked, and frozen."""

import os
import re
import tomllib
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    StrictBool,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from gateway.admission import Admission
from gateway.domain.ehr_profile import EhrProfile, FilterPolicy, shipped_profile
from gateway.fetch.cache_budget import Lifetimes
from gateway.limits import Limits

_PREFIXES = ("LEYR_", "GATEWAY_")
# Names that other programs own: CGI's version, and the project folder that benchmark harnesses pass around.
_FOREIGN = frozenset({"GATEWAY_INTERFACE", "GATEWAY_DIR"})


class SettingsError(Exception):
    """The configuration is wrong; the message says what to set, and never quotes a value."""


class ProfileOverride(BaseModel):
    """One table of the profiles file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter_policy: FilterPolicy | None = None
    longest_window_days: Annotated[int, Field(strict=True, ge=1, le=3660)] | None = None
    time_zone: str | None = None
    name: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1)] | None = None
    names_resource: StrictBool | None = None
    names_service: StrictBool | None = None

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, value: str | None) -> str | None:
        try:
            return None if value is None else ZoneInfo(value).key
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("not a known IANA time zone") from None

    def over(self, profile: EhrProfile) -> EhrProfile:
        """The profile with what this table says laid over it."""
        days = self.longest_window_days
        return EhrProfile(
            code=profile.code,
            name=self.name or profile.name,
            filter_policy=self.filter_policy or profile.filter_policy,
            longest_window=profile.longest_window if days is None else timedelta(days=days),
            time_zone=ZoneInfo(self.time_zone) if self.time_zone else profile.time_zone,
            names_resource=profile.names_resource if self.names_resource is None else self.names_resource,
            names_service=profile.names_service if self.names_service is None else self.names_service,
        )


class Settings(Limits, Admission, BaseSettings):
    """The gateway's settings. A field's environment name is its own name in capitals."""

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, env_ignore_empty=True)

    leyr_base_url: str = Field("https://api.leyr.io/api", description="Where Leyr's API is, up to and with `/api`.")
    leyr_client_id: SecretStr | None = Field(None, description="The application's client id. Required.")
    leyr_client_secret: SecretStr | None = Field(None, description="The application's client secret. Required.")
    leyr_emrs: Annotated[tuple[str, ...], NoDecode] = Field(
        ("webdoc",), description="Comma-separated codes of the EHRs to offer; the first is the default."
    )
    leyr_profiles: Path | None = Field(
        None, description="A TOML file with one table an EHR code, laid over the shipped profiles."
    )
    gateway_host: str = Field("127.0.0.1", description="The address to listen on.")
    gateway_port: int = Field(8000, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")
    gateway_max_window_days: int = Field(
        92, ge=1, le=3660, description="The widest window that a query may ask, in days."
    )
    gateway_cache_catalog_seconds: float = Field(
        300,
        ge=0,
        le=86_400,
        description="For how long care units, resources and services count as fresh; 0 keeps none.",
    )
    gateway_cache_catalog_stale_seconds: float = Field(
        86_400, ge=0, le=604_800, description="For how long after that they are served while they are fetched anew."
    )
    gateway_cache_timeslots_seconds: float = Field(
        15, ge=0, le=30, description="For how long free times count as fresh; 0 keeps none."
    )
    gateway_cache_timeslots_stale_seconds: float = Field(
        15, ge=0, le=30, description="For how long after that they are served while they are fetched anew."
    )
    gateway_cache_max_mb: int = Field(64, ge=1, le=65_536, description="What all caches together may hold, in MiB.")
    gateway_introspection: bool = Field(
        default=False,
        description="Whether clients may introspect and get suggestions; on in `gateway dev` unless set.",
    )
    gateway_graphiql: bool = Field(
        default=False, description="Whether browsers get GraphiQL at `/graphql`; on in `gateway dev` unless set."
    )
    gateway_cors_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Comma-separated origins whose pages may ask, such as `https://book.example`."
    )
    gateway_metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="The port of Prometheus metrics at `/metrics`; none unless set, 0 takes a free one.",
    )
    gateway_metrics_host: str = Field("127.0.0.1", description="The address of the metrics' port.")
    gateway_traces_url: str | None = Field(
        None,
        description="The OTLP/HTTP URL of an OpenTelemetry collector, such as `http://127.0.0.1:4318`.",
    )
    gateway_traces_ratio: float = Field(
        1, ge=0, le=1, description="The share of operations to trace; a client's `traceparent` says it for its own."
    )
    gateway_log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important log events to write."
    )

    @field_validator("leyr_emrs", "gateway_cors_origins", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("leyr_base_url", "gateway_traces_url")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if not re.fullmatch(r"https?://[\x21-\x7e]+", value):
            raise ValueError("not an http or https URL")
        parts = urlsplit(value)
        if not parts.hostname or not re.fullmatch(r"[A-Za-z0-9.:_-]+", parts.hostname) or parts.port == 0:
            raise ValueError("has no host that can be reached, or no port")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("may hold a host and a path only")
        return value.rstrip("/")

    @field_validator("leyr_client_id", "leyr_client_secret")
    @classmethod
    def _fits_a_header(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not re.fullmatch(r"[\x21-\x7e]+", value.get_secret_value()):
            raise ValueError("may hold visible ASCII characters only")
        return value

    @field_validator("leyr_emrs")
    @classmethod
    def _codes(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not value:
            raise ValueError("names no EHR")
        if any(not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", code) for code in value):
            raise ValueError("an EHR code is made of letters, digits, `-`, `_` and `.`")
        return tuple(dict.fromkeys(value))

    @field_validator("gateway_cors_origins")
    @classmethod
    def _origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(not re.fullmatch(r"https?://[^/?#*\s]+", origin) for origin in value):
            raise ValueError("an origin is a scheme and a host, without a path; `*` is not taken")
        return value

    @field_validator("gateway_log_level", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @property
    def widest_window(self) -> timedelta:
        """The widest window that a query may ask."""
        return timedelta(days=self.gateway_max_window_days)

    @property
    def catalog_lifetimes(self) -> Lifetimes:
        """How long the catalogue is fresh, and how long after that it is served."""
        return Lifetimes(self.gateway_cache_catalog_seconds, self.gateway_cache_catalog_stale_seconds)

    @property
    def timeslots_lifetimes(self) -> Lifetimes:
        """How long free times are fresh, and how long after that they are served."""
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

    def profiles(self) -> list[EhrProfile]:
        """The profiles of the configured EHRs, the default first. Raises SettingsError for the profiles file."""
        overrides = _read_profiles(self.leyr_profiles)
        return [overrides.get(code, ProfileOverride()).over(shipped_profile(code)) for code in self.leyr_emrs]


def load_settings(**overrides: Any) -> Settings:
    """Read the environment, with `overrides` by field name laid over it. Raises SettingsError."""
    _refuse_unknown(os.environ)
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise SettingsError("\n".join(_complaints(error))) from None


def settings_table() -> str:
    """The settings as a Markdown table, for the README."""
    rows = ["| Name | Default | Meaning |", "| --- | --- | --- |"]
    inherited = [*Admission.model_fields, *Limits.model_fields]
    own = [name for name in Settings.model_fields if name not in inherited]
    for name in (*own, *inherited):
        info = Settings.model_fields[name]
        default = ",".join(info.default) if isinstance(info.default, tuple) else info.default
        shown = {"True": "`on`", "False": "`off`", "None": "", "": ""}.get(str(default), f"`{default}`")
        rows.append(f"| `{name.upper()}` | {shown} | {info.description} |")
    return "\n".join(rows) + "\n"


def _refuse_unknown(names: Iterable[str]) -> None:
    known = {name.upper() for name in Settings.model_fields}
    ours = [name for name in names if name.upper().startswith(_PREFIXES)]
    unknown = sorted(name for name in ours if name.upper() not in known | _FOREIGN)
    if unknown:
        raise SettingsError("\n".join(_unknown(name, known) for name in unknown))


def _unknown(name: str, known: Iterable[str]) -> str:
    close = get_close_matches(name.upper(), known, n=1, cutoff=0.75)
    hint = f"; did you mean {close[0]}?" if close else "; `gateway settings` lists those there are"
    return f"{name} is not a setting of this gateway{hint}"


def _read_profiles(path: Path | None) -> dict[str, ProfileOverride]:
    if path is None:
        return {}
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        return TypeAdapter(dict[str, ProfileOverride]).validate_python(tables)
    except OSError as error:
        raise SettingsError(f"LEYR_PROFILES: the file cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"LEYR_PROFILES: the file is not TOML: {error}") from None
    except ValidationError as error:
        raise SettingsError("\n".join(f"LEYR_PROFILES: {line}" for line in _complaints(error))) from None


def _complaints(error: ValidationError) -> list[str]:
    return [
        ": ".join((*_place(each["loc"]), each["msg"].removeprefix("Value error, ")))
        for each in error.errors(include_url=False, include_input=False, include_context=False)
    ]


def _place(loc: tuple[int | str, ...]) -> tuple[str, ...]:
    return (".".join(map(str, loc)).upper(),) if loc else ()
