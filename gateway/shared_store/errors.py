"""What can go wrong between a process and the shared store."""

from enum import StrEnum


class AwayReason(StrEnum):
    """Why the store does not answer; a closed set, so that it can label metrics."""

    NOT_CONNECTED = "not_connected"
    """The first connection is still being made."""
    UNREACHABLE = "unreachable"
    """Nothing listens there, or the connection broke."""
    TIMEOUT = "timeout"
    TLS = "tls"
    """The certificate is not trusted, or the server does not encrypt."""
    LOGIN = "login"
    """The username or the password is wrong, or one is wanted."""
    PERMISSION = "permission"
    """The user may not do what every process needs."""
    PROTOCOL = "protocol"
    """What came is no answer to what was asked."""
    FULL = "full"
    """More waits to be sent than may wait."""
    CLOSED = "closed"


class StoreAwayError(Exception):
    """The store does not answer now; whoever asked goes on alone."""

    def __init__(self, reason: AwayReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


class StoreRefusedError(Exception):
    """The server answered with an error; `kind` is its first word, such as OOM, NOPERM or READONLY."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind
