"""The settings about callers and trusted documents."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator
from pydantic_settings import NoDecode

_OF_CALLERS = ("gateway_api_keys", "gateway_jwt_")


class AccessSettings(BaseModel):
    """Settings about callers and trusted documents."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    gateway_auth: Literal["anonymous", "api-keys", "jwt"] = "anonymous"
    """Who may ask: everyone (`anonymous`), or whoever has a key or a token."""
    gateway_allow_anonymous: bool = False
    """Whether `anonymous` may listen on an address that other machines reach."""
    gateway_trusted_proxies: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated networks such as `10.0.0.0/8`, whose `X-Forwarded-For` or `Forwarded` says who asks."""
    gateway_api_keys: Path | None = None
    """A TOML file with one table a caller, for `api-keys`."""
    gateway_jwt_issuer: str | None = None
    """Who must have issued a token (`iss`), for `jwt`."""
    gateway_jwt_audience: str | None = None
    """For whom a token must be (`aud`), for `jwt`."""
    gateway_jwt_jwks: str | None = None
    """The issuer's keys: a file, or an http or https URL."""
    gateway_jwt_emrs_claim: str = "emrs"
    """The claim that lists the EHRs a caller may see."""
    gateway_jwt_care_units_claim: str = "care_units"
    """The claim that lists the care units a caller may see, as node ids; all if absent."""
    gateway_jwt_may_book_claim: str = "may_book"
    """The claim that is true where a caller may book."""
    gateway_jwt_patient_by_claim: str = "patient_by"
    """The claim that lists how a caller may name patients; `details` alone if absent."""
    gateway_documents: Path | None = None
    """A JSON file of trusted documents by hash, as graphql-codegen's client preset writes it."""
    gateway_documents_only: bool = False
    """Whether only trusted documents are run."""
    gateway_automatic_documents: bool = True
    """Whether clients may register documents by their hash, if none are trusted; off where processes share no store."""

    @model_validator(mode="after")
    def _check_required(self) -> Self:
        needed = {
            "api-keys": ("gateway_api_keys",),
            "jwt": ("gateway_jwt_issuer", "gateway_jwt_audience", "gateway_jwt_jwks"),
        }.get(self.gateway_auth, ())
        unused = [name.upper() for name in sorted(self.model_fields_set) if name.startswith(_OF_CALLERS)]
        # Whoever sets these means to keep strangers out.
        if unused and "gateway_auth" not in self.model_fields_set:
            auth = "api-keys" if "GATEWAY_API_KEYS" in unused else "jwt"
            raise ValueError(f"{' and '.join(unused)} would let everyone in as it is: set GATEWAY_AUTH={auth}")
        if missing := [name.upper() for name in needed if getattr(self, name) is None]:
            raise ValueError(f"GATEWAY_AUTH={self.gateway_auth} needs {' and '.join(missing)}")
        if self.gateway_documents_only and self.gateway_documents is None:
            raise ValueError("GATEWAY_DOCUMENTS_ONLY needs GATEWAY_DOCUMENTS")
        return self

    def refusal_to_listen(self, address: str) -> str | None:
        """Say why the gateway must not listen on an IP address; None where it may."""
        if self.gateway_auth != "anonymous" or self.gateway_allow_anonymous or ip_address(address).is_loopback:
            return None
        return (
            "everyone who reaches this address could ask, since GATEWAY_AUTH is `anonymous`: "
            "set it to `api-keys` or `jwt`, listen on 127.0.0.1, or set GATEWAY_ALLOW_ANONYMOUS=yes"
        )
