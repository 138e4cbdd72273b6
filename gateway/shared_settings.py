"""The settings about the store that several processes share."""

import re
from pathlib import Path
from typing import Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from gateway.shared_store.address import StoreAddress

_SCHEMES = {"redis": False, "valkey": False, "rediss": True, "valkeys": True}
_PORT = 6379
_MILLISECONDS = 1_000


class SharedSettings(BaseModel):
    """Settings about the shared store."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    gateway_shared_url: SecretStr | None = None
    """The Valkey or Redis that processes share: `redis://`, `rediss://`, `valkey://`, `valkeys://` or `unix://`."""
    gateway_shared_username: str | None = None
    """The user to log in to it as."""
    gateway_shared_password: SecretStr | None = None
    """That user's password; `GATEWAY_SHARED_PASSWORD_FILE` may name its file."""
    gateway_shared_ca: Path | None = None
    """The PEM file of the authority that signed its certificate; else those that this machine trusts."""
    gateway_shared_timeout_ms: int = Field(150, ge=10, le=5_000)
    """How long an answer of it may take before the process goes on alone."""
    gateway_shared_prefix: str = Field("leyr-gateway:", pattern=r"^[A-Za-z0-9:._-]{0,64}$")
    """What all names in it begin with."""

    @field_validator("gateway_shared_url")
    @classmethod
    def _check_shared_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _address(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _check_shared(self) -> Self:
        given = (self.gateway_shared_username, self.gateway_shared_password, self.gateway_shared_ca)
        if self.gateway_shared_url is None and any(each is not None for each in given):
            raise ValueError("GATEWAY_SHARED_USERNAME, _PASSWORD and _CA are about GATEWAY_SHARED_URL: set that too")
        address = self.store_address
        if address is not None and self.gateway_shared_ca is not None and not address.is_encrypted:
            raise ValueError("GATEWAY_SHARED_CA is for rediss:// and valkeys://, which encrypt")
        if self.gateway_shared_ca is not None and not self.gateway_shared_ca.is_file():
            raise ValueError("GATEWAY_SHARED_CA names no file")
        return self

    @property
    def store_address(self) -> StoreAddress | None:
        """Where the shared store is; None where there is none."""
        if self.gateway_shared_url is None:
            return None
        found = _address(self.gateway_shared_url.get_secret_value())
        password = self.gateway_shared_password
        return StoreAddress(
            host=found.host,
            port=found.port,
            path=found.path,
            database=found.database,
            username=self.gateway_shared_username or found.username,
            password=found.password if password is None else password.get_secret_value(),
            is_encrypted=found.is_encrypted,
            ca=self.gateway_shared_ca,
        )

    @property
    def shared_timeout_seconds(self) -> float:
        """How long an answer of the shared store may take."""
        return self.gateway_shared_timeout_ms / _MILLISECONDS


def _address(url: str) -> StoreAddress:
    """The address that a URL names. Raises ValueError, whose message quotes nothing of it."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # It quotes what stands in the port's place, which may be a password.
        raise ValueError(
            "is not the URL of a store, or its port is none: `:`, `/`, `@` are written in % codes"
        ) from None
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    if parts.scheme == "unix":
        database = re.fullmatch(r"(?:db=([0-9]{1,5}))?", parts.query)
        if (
            parts.hostname
            or parts.path in {"", "/"}
            or "\0" in unquote(parts.path)
            or database is None
            or parts.fragment
        ):
            raise ValueError("unix:// takes the path of a socket, such as unix:///run/valkey/valkey.sock?db=0")
        path, number = unquote(parts.path), int(database[1] or 0)
        return StoreAddress(path=path, database=number, username=username, password=password)
    if parts.scheme not in _SCHEMES:
        raise ValueError("begins with none of redis://, rediss://, valkey://, valkeys:// and unix://")
    database = re.fullmatch(r"/?([0-9]{0,5})/?", parts.path)
    is_host = re.fullmatch(r"[A-Za-z0-9.:_%-]+", parts.hostname or "")
    if not is_host or port == 0 or database is None or parts.query or parts.fragment:
        raise ValueError("takes a host, a port and the number of a database, such as redis://127.0.0.1:6379/0")
    return StoreAddress(
        host=parts.hostname or "",
        port=_PORT if port is None else port,
        database=int(database[1] or 0),
        username=username,
        password=password,
        is_encrypted=_SCHEMES[parts.scheme],
    )
