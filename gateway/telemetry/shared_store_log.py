"""What the log is told of the shared store: when it begins and ends to answer, and what is wrong, each once."""

import structlog

from gateway.shared_store.errors import AwayReason

_ACTIONS = {
    AwayReason.UNREACHABLE: "look whether it runs and GATEWAY_SHARED_URL is right; the process goes on alone",
    AwayReason.TIMEOUT: "look at its load and the network, or raise GATEWAY_SHARED_TIMEOUT_MS",
    AwayReason.TLS: "set GATEWAY_SHARED_CA to the authority of its certificate, and rediss:// where it encrypts",
    AwayReason.LOGIN: "set GATEWAY_SHARED_USERNAME and GATEWAY_SHARED_PASSWORD as its ACL has them",
    AwayReason.PERMISSION: "give the user what docs/several-processes.md lists",
    AwayReason.PROTOCOL: "look whether it is Valkey 8 or Redis 7, and what stands between",
}


class SharedStoreEvents:
    """Writes each change once; while the store is away, each further reason once."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger) -> None:
        self._log = log
        self._said: set[str] = set()

    def store_up(self) -> None:
        """The store answers, for the first time or again."""
        self._said.clear()
        self._log.info("shared_store.up")

    def store_away(self, reason: AwayReason) -> None:
        """The store does not answer any more, or a connection failed."""
        if reason is not AwayReason.CLOSED and reason not in self._said:
            self._said.add(reason)
            self._log.warning("shared_store.away", reason=reason.value, action=_ACTIONS.get(reason, "wait"))

    def store_refused(self, kind: str) -> None:
        """The server answered a script with an error."""
        if kind not in self._said:
            self._said.add(kind)
            action = "look at its ACL, its memory and whether it is a replica; reading goes on"
            self._log.warning("shared_store.refused", kind=kind, action=action)

    def store_garbage(self) -> None:
        """Something in the store is not what a process with this secret wrote."""
