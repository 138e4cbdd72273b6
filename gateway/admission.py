"""Who may ask, and what, as settings."""

from ipaddress import ip_address
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator


class Admission(BaseModel):
    """Settings about callers and trusted documents; a field's environment name is its own name in capitals."""

    gateway_auth: Literal["anonymous", "api-keys", "jwt"] = Field(
        "anonymous", description="Who may ask: everyone (`anonymous`), or whoever has a key or a token."
    )
    gateway_allow_anonymous: bool = Field(
        default=False, description="Whether `anonymous` may listen on an address that other machines reach."
    )
    gateway_api_keys: Path | None = Field(None, description="A TOML file with one table a caller, for `api-keys`.")
    gateway_jwt_issuer: str | None = Field(None, description="Who must have issued a token (`iss`), for `jwt`.")
    gateway_jwt_audience: str | None = Field(None, description="For whom a token must be (`aud`), for `jwt`.")
    gateway_jwt_jwks: str | None = Field(None, description="The issuer's keys: a file, or an http or https URL.")
    gateway_jwt_emrs_claim: str = Field("emrs", description="The claim that lists the EHRs a caller may see.")
    gateway_jwt_care_units_claim: str = Field(
        "care_units", description="The claim that lists the care units a caller may see, as node ids; all if absent."
    )
    gateway_documents: Path | None = Field(
        None, description="A JSON file of trusted documents by hash, as graphql-codegen's client preset writes it."
    )
    gateway_documents_only: bool = Field(default=False, description="Whether only trusted documents are run.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        needed = {
            "api-keys": ("gateway_api_keys",),
            "jwt": ("gateway_jwt_issuer", "gateway_jwt_audience", "gateway_jwt_jwks"),
        }.get(self.gateway_auth, ())
        missing = [name.upper() for name in needed if getattr(self, name) is None]
        if missing:
            raise ValueError(f"GATEWAY_AUTH={self.gateway_auth} needs {' and '.join(missing)}")
        if self.gateway_documents_only and self.gateway_documents is None:
            raise ValueError("GATEWAY_DOCUMENTS_ONLY needs GATEWAY_DOCUMENTS")
        return self

    def refusal_to_listen(self, address: str) -> str | None:
        """Why the gateway must not listen on an IP address; None where it may."""
        if self.gateway_auth != "anonymous" or self.gateway_allow_anonymous or ip_address(address).is_loopback:
            return None
        return (
            "everyone who reaches this address could ask, since GATEWAY_AUTH is `anonymous`: "
            "set it to `api-keys` or `jwt`, listen on 127.0.0.1, or set GATEWAY_ALLOW_ANONYMOUS=yes"
        )
