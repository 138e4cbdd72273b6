"""What the files say that settings name: who may ask, which documents are trusted, and what the EHRs want."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import structlog

from gateway.auth.api_keys import ApiKeyVerifier, read_api_keys
from gateway.auth.caller import AuthSettingsError, Caller, CredentialVerifier, Rate
from gateway.auth.jwks import KeyFile, KeySet, KeySource, UnusableKeysError, key_source, read_usable_keys
from gateway.auth.jwt import JwtRequirements, JwtVerifier
from gateway.domain.ehr_profile import EhrProfile, shipped_profile
from gateway.domain.personal_numbers import may_hold_a_personal_number
from gateway.fetch.cache_budget import CacheBudget
from gateway.fetch.profiles import ProfileOverride, Profiles, ProfilesError, read_profiles
from gateway.files import FileError, read_file
from gateway.http.persisted_documents import DocumentStore, ManifestError, PersistedDocuments, read_manifest
from gateway.http_client.pool import ConnectionPool, HttpClientFactory
from gateway.settings import Settings, SettingsError


@dataclass(frozen=True, slots=True)
class Configuration:
    """What the files say, as the running gateway has it."""

    settings: Settings
    log: structlog.typing.FilteringBoundLogger
    verifier: CredentialVerifier | None
    documents: PersistedDocuments
    profiles: Profiles
    _reloads: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    def begin_reload(self) -> None:
        """Read all files again, in a thread; then take over all that they say, or nothing, and say which."""
        # More than one that waits would read what that one reads.
        if len(self._reloads) < 2:  # noqa: PLR2004 # the one that reads, and one that waits
            task = asyncio.get_running_loop().create_task(self._reload())
            self._reloads.add(task)
            task.add_done_callback(self._reloads.discard)

    async def _reload(self) -> None:
        async with self._one_at_a_time:
            try:
                callers, documents, profiles = await asyncio.to_thread(self._read)
            except SettingsError as error:
                self._log_failed(str(error))
                return
            if self.verifier is not None and not isinstance(self.verifier, ApiKeyVerifier):
                await self.verifier.start()
            self._take_over(callers, documents, profiles)
            self.log.info("gateway.reloaded", keys=len(callers), documents=len(documents or ()), ehrs=len(profiles))

    def reload_for_forks(self) -> None:
        """Take over what all files say now, or nothing, for processes that are forked later, which call for keys."""
        # The others say so.
        with suppress(SettingsError):
            self._take_over(*self._read())

    def _take_over(
        self, callers: Mapping[bytes, Caller], documents: Mapping[str, str] | None, profiles: list[EhrProfile]
    ) -> None:
        if isinstance(self.verifier, ApiKeyVerifier):
            self.verifier.callers = callers
        if documents is not None:
            self.documents.trust(documents)
        self.profiles.configure(profiles)

    def _log_failed(self, reason: str) -> None:
        shown = "a personal number stands in it" if may_hold_a_personal_number(reason) else reason
        self.log.error("gateway.reload_failed", reason=shown, action="mend it and send SIGHUP again; all is as before")

    def _read(self) -> tuple[Mapping[bytes, Caller], Mapping[str, str] | None, list[EhrProfile]]:
        settings, callers = self.settings, dict[bytes, Caller]()
        if isinstance(self.verifier, ApiKeyVerifier) and settings.gateway_api_keys is not None:
            callers |= _api_keys(settings.gateway_api_keys, rate_of(settings), settings.leyr_emrs).callers
        elif self.verifier is not None:
            # A URL is asked again, a file has to be right.
            _key_source(settings.gateway_jwt_jwks or "", ConnectionPool)
        return callers, _manifest(settings.gateway_documents), profiles_of(settings)


def verifier_of(
    settings: Settings,
    *,
    log: structlog.typing.FilteringBoundLogger,
    connections: HttpClientFactory,
    names: Callable[[], bytes],
    now: Callable[[], datetime],
    clock: Callable[[], float],
) -> CredentialVerifier | None:
    """Who may ask; None where everybody may; `names` is what the names of tokens' callers are made with.

    Raises SettingsError.
    """
    if settings.gateway_auth == "api-keys" and settings.gateway_api_keys is not None:
        return _api_keys(settings.gateway_api_keys, rate_of(settings), settings.leyr_emrs)
    if settings.gateway_auth == "jwt":
        source = _key_source(settings.gateway_jwt_jwks or "", connections)
        keys = KeySet(source, clock=clock, on_failed=lambda reason: _log_keys(log, reason))
        return JwtVerifier(keys, _jwt_requirements(settings), rate=rate_of(settings), secret=names, now=now)
    return None


def configuration_of(
    settings: Settings,
    log: structlog.typing.FilteringBoundLogger,
    verifier: CredentialVerifier | None,
    memory: CacheBudget,
    shared: DocumentStore | None,
) -> Configuration:
    """What the files say now. Raises SettingsError."""
    profiles = Profiles(profiles_of(settings), on_learned=lambda learned: _log_learned(log, learned))
    documents = persisted_documents_of(settings, memory, shared)
    return Configuration(settings, log, verifier, documents, profiles)


def _log_learned(log: structlog.typing.FilteringBoundLogger, learned: EhrProfile) -> None:
    log.warning(
        "ehr.profile_learned",
        emr=learned.code,
        filter_policy=learned.filter_policy.value,
        action="set filter_policy for this EHR in LEYR_PROFILES, so that no call is refused first",
    )


def rate_of(settings: Settings) -> Rate:
    """The rate of callers that have none of their own."""
    return Rate(
        settings.gateway_rate_per_second,
        settings.gateway_rate_burst,
        settings.gateway_calls_per_minute,
        settings.gateway_bookings_per_minute,
    )


def persisted_documents_of(
    settings: Settings, memory: CacheBudget, shared: DocumentStore | None = None
) -> PersistedDocuments:
    """The documents of the manifest, or else those that clients register. Raises SettingsError."""
    trusted = _manifest(settings.gateway_documents)
    return PersistedDocuments(
        trusted,
        only=settings.gateway_documents_only,
        automatic=settings.gateway_automatic_documents,
        budget=memory,
        shared=shared,
    )


def _manifest(path: Path | None) -> Mapping[str, str] | None:
    if path is None:
        return None
    try:
        return read_manifest(read_file(path))
    except FileError as error:
        raise SettingsError(f"GATEWAY_DOCUMENTS: the file cannot be read: {error}") from None
    except ManifestError as error:
        raise SettingsError(f"GATEWAY_DOCUMENTS: {error}") from None


def profiles_of(settings: Settings) -> list[EhrProfile]:
    """The profiles of the configured EHRs, the default first. Raises SettingsError for the profiles file."""
    emrs = settings.leyr_emrs
    overrides = _overrides(settings.leyr_profiles)
    unknown = [code for code in overrides if code not in emrs]
    if unknown:
        offered = ", ".join(emrs)
        raise SettingsError(
            "\n".join(f"LEYR_PROFILES: [{code}]: not in LEYR_EMRS, which has {offered}" for code in unknown)
        )
    return [overrides.get(code, ProfileOverride()).applied_to(shipped_profile(code)) for code in emrs]


def _overrides(path: Path | None) -> dict[str, ProfileOverride]:
    if path is None:
        return {}
    try:
        return read_profiles(read_file(path))
    except FileError as error:
        raise SettingsError(f"LEYR_PROFILES: the file cannot be read: {error}") from None
    except ProfilesError as error:
        raise SettingsError("\n".join(f"LEYR_PROFILES: {line}" for line in str(error).splitlines())) from None


def _api_keys(path: Path, rate: Rate, emrs: Collection[str]) -> ApiKeyVerifier:
    try:
        verifier = read_api_keys(read_file(path).decode(), rate)
    except FileError as error:
        raise SettingsError(f"GATEWAY_API_KEYS: the file cannot be read: {error}") from None
    except UnicodeDecodeError:
        raise SettingsError("GATEWAY_API_KEYS: the file is not text in UTF-8") from None
    except AuthSettingsError as error:
        raise SettingsError("\n".join(f"GATEWAY_API_KEYS: {line}" for line in str(error).splitlines())) from None
    lines = {line for caller in verifier.callers.values() for line in _not_offered(caller, emrs)}
    if lines:
        raise SettingsError("\n".join(f"GATEWAY_API_KEYS: {line}" for line in sorted(lines)))
    return verifier


def _not_offered(caller: Caller, emrs: Collection[str]) -> list[str]:
    """What a caller may see that is not there, which is a wrong name: such a caller would find nothing."""
    of_units = {key.emr for key in caller.access.care_units or ()}
    named = (("emrs", caller.access.emrs or frozenset()), ("care_units", of_units))
    return [
        f"{caller.name}: {key}: {len(codes.difference(emrs))} of the EHRs here are not in LEYR_EMRS, "
        f"which has {', '.join(emrs)}"
        for key, codes in named
        if codes.difference(emrs)
    ]


def _key_source(place: str, connections: HttpClientFactory) -> KeySource:
    try:
        source = key_source(place, connections)
        # A file is there from the start, or it is a wrong path; an issuer's URL may answer later.
        if isinstance(source, KeyFile):
            read_usable_keys(source.read())
    except (AuthSettingsError, UnusableKeysError) as error:
        raise SettingsError(f"GATEWAY_JWT_JWKS: {error}") from None
    return source


def _jwt_requirements(settings: Settings) -> JwtRequirements:
    return JwtRequirements(
        settings.gateway_jwt_issuer or "",
        settings.gateway_jwt_audience or "",
        settings.gateway_jwt_emrs_claim,
        settings.gateway_jwt_care_units_claim,
        settings.gateway_jwt_may_book_claim,
        settings.gateway_jwt_patient_by_claim,
    )


def _log_keys(log: structlog.typing.FilteringBoundLogger, reason: str) -> None:
    log.warning("callers.keys_failed", reason=reason)
