"""Which proxy a request goes through, by the environment variables that other programs read too."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, field_validator
from pydantic_settings import NoDecode

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
_HOST = re.compile(r"[A-Za-z0-9.:_-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy; `login` is a user name and a password."""

    scheme: str
    host: str
    port: int
    login: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Read a URL, http where it has no scheme. Raises ValueError, which quotes nothing of it."""
        try:
            parts = urlsplit(url if "://" in url else f"http://{url}")
            port = _PORTS.get(parts.scheme) if parts.port is None else parts.port
        except ValueError:
            raise ValueError("not a proxy's URL") from None
        if parts.scheme not in _PORTS:
            raise ValueError("a proxy's URL begins with http, https, socks5 or socks5h")
        if not port or not _HOST(parts.hostname or "") or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError("a proxy's URL has a host, and may have a port, a user name and a password")
        login = None
        if parts.username is not None:
            login = unquote(parts.username), unquote(parts.password or "")
        return cls(parts.scheme, parts.hostname or "", port, login)


class ProxySettings(BaseModel):
    """The proxies to other machines; this machine's own addresses are reached without."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    https_proxy: SecretStr | None = None
    """The proxy to https URLs, Leyr's and the issuer's: `http://`, `https://` or `socks5://`, its password included."""
    http_proxy: SecretStr | None = None
    """The proxy to http URLs."""
    all_proxy: SecretStr | None = None
    """The proxy to all URLs that have none of their own."""
    no_proxy: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated hosts, domains and networks that are reached without a proxy; `*` for all."""

    @field_validator("no_proxy", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return tuple(re.split(r"[,\s]+", value.strip())) if isinstance(value, str) else value

    @field_validator("https_proxy", "http_proxy", "all_proxy")
    @classmethod
    def _check_proxy(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            Proxy.from_url(value.get_secret_value())
        return value

    def proxy_for(self, url: str) -> Proxy | None:
        """The proxy that leads to a URL; None where there is none."""
        parts = urlsplit(url)
        chosen = (self.https_proxy if parts.scheme == "https" else self.http_proxy) or self.all_proxy
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
        if chosen is None or _is_this_machine(host) or is_exempt(host, port, self.no_proxy):
            return None
        return Proxy.from_url(chosen.get_secret_value())


def is_exempt(host: str, port: int, exempt: Iterable[str]) -> bool:
    """Whether a host and port are among names as NO_PROXY has them: a domain stands for what is below it too."""
    return any(_is_named(host.lower().rstrip("."), port, name.lower()) for name in exempt if name)


def _is_named(host: str, port: int, name: str) -> bool:
    if name == "*":
        return True
    with_port = re.fullmatch(r"(\[[^\]]*\]|[^:]*):(\d+)", name)
    if with_port:
        if int(with_port[2]) != port:
            return False
        name = with_port[1]
    name = name.strip("[]").removeprefix("*").strip(".")
    try:
        return ip_address(host) in ip_network(name, strict=False)
    except ValueError:
        return bool(name) and (host == name or host.endswith(f".{name}"))


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
