"""Callers and trusted documents, made of what the settings name."""

from collections.abc import Callable
from datetime import datetime

import structlog

from gateway.http.callers.api_keys import read_api_keys
from gateway.http.callers.caller import Callers, CallersError, Rate
from gateway.http.callers.claims import Rules
from gateway.http.callers.key_set import KeySet
from gateway.http.callers.key_sources import key_source
from gateway.http.callers.tokens import Tokens
from gateway.http.stored_documents import ManifestError, TrustedDocuments, read_manifest
from gateway.http_client.pool import HttpClientFactory
from gateway.settings import Settings, SettingsError


def callers_of(
    settings: Settings,
    *,
    log: structlog.typing.FilteringBoundLogger,
    connections: HttpClientFactory,
    new_secret: Callable[[], bytes],
    now: Callable[[], datetime],
    clock: Callable[[], float],
) -> Callers | None:
    """Who may ask; None where everybody may. Raises SettingsError."""
    rate = Rate(settings.gateway_rate_per_second, settings.gateway_rate_burst)
    try:
        if settings.gateway_auth == "api-keys" and settings.gateway_api_keys is not None:
            return read_api_keys(settings.gateway_api_keys.read_text(encoding="utf-8"), rate)
        if settings.gateway_auth == "jwt":
            source = key_source(settings.gateway_jwt_jwks or "", connections)
            keys = KeySet(source, clock=clock, on_failed=lambda reason: _log_keys(log, reason))
            return Tokens(keys, _rules(settings), rate=rate, secret=new_secret(), now=now)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"GATEWAY_API_KEYS: the file cannot be read as text: {type(error).__name__}") from None
    except CallersError as error:
        name = "GATEWAY_API_KEYS" if settings.gateway_auth == "api-keys" else "GATEWAY_JWT_JWKS"
        raise SettingsError("\n".join(f"{name}: {line}" for line in str(error).splitlines())) from None
    return None


def trusted_documents_of(settings: Settings) -> TrustedDocuments | None:
    """The documents of the manifest, where there is one. Raises SettingsError."""
    if settings.gateway_documents is None:
        return None
    try:
        by_id = read_manifest(settings.gateway_documents.read_bytes())
    except OSError as error:
        raise SettingsError(f"GATEWAY_DOCUMENTS: the file cannot be read: {error.strerror}") from None
    except ManifestError as error:
        raise SettingsError(f"GATEWAY_DOCUMENTS: {error}") from None
    return TrustedDocuments(by_id, alone=settings.gateway_documents_only)


def _rules(settings: Settings) -> Rules:
    return Rules(
        settings.gateway_jwt_issuer or "",
        settings.gateway_jwt_audience or "",
        settings.gateway_jwt_emrs_claim,
        settings.gateway_jwt_care_units_claim,
    )


def _log_keys(log: structlog.typing.FilteringBoundLogger, reason: str) -> None:
    log.warning("callers.keys_failed", reason=reason)
