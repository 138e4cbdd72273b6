"""The kinds of failure between the gateway and a server: a closed set that can be logged, counted and acted upon."""

import errno
import socket
import ssl
from collections.abc import Mapping
from enum import StrEnum


class FailureKind(StrEnum):
    """Why a server could not be reached, or did not answer; the kinds before it was reached are in order of time."""

    LOOKUP_TIMEOUT = "lookup_timeout"
    NAME_NOT_FOUND = "name_not_found"
    NO_ROUTE = "no_route"
    CONNECT_TIMEOUT = "connect_timeout"
    REFUSED = "refused"
    PROXY_REFUSED = "proxy_refused"
    """A proxy answered, and made no connection to the server."""
    TLS_TIMEOUT = "tls_timeout"
    TLS_UNTRUSTED = "tls_untrusted"
    """The certificate is another host's, or none of the trusted authorities has signed it."""
    TLS_EXPIRED = "tls_expired"
    TLS_FAILED = "tls_failed"
    """No version or cipher in common, or no TLS at all."""
    RESET = "reset"
    """The connection was closed before the answer was whole."""
    NOT_HTTP = "not_http"
    OTHER = "other"

    @property
    def is_retryable(self) -> bool:
        """Whether the same may succeed soon: a wrong certificate stays wrong until somebody replaces it."""
        return self not in _LASTING


_LASTING = frozenset({FailureKind.TLS_UNTRUSTED, FailureKind.TLS_EXPIRED})


class TransportError(ConnectionError):
    """A failure of a known kind; the message holds no text of the server's and no address."""

    def __init__(self, kind: FailureKind, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def kind_of(error: BaseException) -> FailureKind:
    """The kind of any error that an HttpClient raises; TransportError knows its own."""
    if isinstance(error, TransportError):
        return error.kind
    if isinstance(error, ssl.SSLCertVerificationError):
        return FailureKind.TLS_EXPIRED if error.verify_code == _HAS_EXPIRED else FailureKind.TLS_UNTRUSTED
    for type_, kind in _BY_TYPE.items():
        if isinstance(error, type_):
            return kind
    return _BY_NUMBER.get(getattr(error, "errno", None), FailureKind.OTHER)


# X509_V_ERR_CERT_HAS_EXPIRED, which the module ssl does not name.
_HAS_EXPIRED = 10
_BY_TYPE: Mapping[type[BaseException], FailureKind] = {
    # A connection that ends within the handshake comes as one of these.
    ssl.SSLEOFError: FailureKind.RESET,
    ssl.SSLZeroReturnError: FailureKind.RESET,
    ssl.SSLError: FailureKind.TLS_FAILED,
    socket.gaierror: FailureKind.NAME_NOT_FOUND,
    TimeoutError: FailureKind.CONNECT_TIMEOUT,
    ConnectionRefusedError: FailureKind.REFUSED,
    ConnectionError: FailureKind.RESET,
}
_BY_NUMBER: Mapping[int | None, FailureKind] = {
    errno.ENETUNREACH: FailureKind.NO_ROUTE,
    errno.EHOSTUNREACH: FailureKind.NO_ROUTE,
    errno.ENETDOWN: FailureKind.NO_ROUTE,
    errno.EHOSTDOWN: FailureKind.NO_ROUTE,
    errno.EADDRNOTAVAIL: FailureKind.NO_ROUTE,
    # A firewall of the machine itself, and a family of addresses that it does not speak.
    errno.EACCES: FailureKind.NO_ROUTE,
    errno.EPERM: FailureKind.NO_ROUTE,
    errno.EAFNOSUPPORT: FailureKind.NO_ROUTE,
}
