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
    LOADING = "loading"
    """It reads its data, waits for its primary, or is busy with a script."""
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


_ANY = "ERR"
REFUSALS = (
    _ANY, "BUSY", "CLUSTERDOWN", "CROSSSLOT", "DENIED", "LOADING", "MASTERDOWN", "MISCONF", "MOVED", "NOAUTH", "NOPERM",
    "NOPROTO", "NOREPLICAS", "NOSCRIPT", "OOM", "READONLY", "WRONGPASS", "WRONGTYPE",
)  # fmt: skip
"""The words that a server's errors begin with, as far as they are known: what `StoreRefusedError.kind` may be."""
AWAY_FOR = {
    "NOPERM": AwayReason.PERMISSION,
    "NOAUTH": AwayReason.LOGIN,
    "WRONGPASS": AwayReason.LOGIN,
    "DENIED": AwayReason.LOGIN,
    "LOADING": AwayReason.LOADING,
    "MASTERDOWN": AwayReason.LOADING,
    "BUSY": AwayReason.LOADING,
}
"""What a refusal makes of the whole store where it is given to what every process needs."""


class StoreRefusedError(Exception):
    """The server answered with an error; `kind` is its first word, such as OOM, NOPERM or READONLY."""

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind

    @classmethod
    def of(cls, text: str) -> "StoreRefusedError":
        """The error of a server's text, of which nothing but a known word is kept: the rest may quote what was sent."""
        # Redis has no word of its own for what a script may not do; the first text is of 7.0.
        if "user executing the script" in text or "ACL failure in script" in text:
            return cls("NOPERM")
        word = text.partition(" ")[0]
        return cls(word if word in REFUSALS else _ANY)
