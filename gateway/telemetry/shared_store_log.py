"""What the log and the metrics are told of the shared store: the log each reason once, with what to do about it."""

import structlog

from gateway.shared_store.errors import AwayReason
from gateway.shared_store.reads import ReadOutcome, SharedRead
from gateway.telemetry.shared_store_metrics import SharedStoreMetrics

_ACTIONS = {
    AwayReason.UNREACHABLE: "look whether it runs and GATEWAY_SHARED_URL is right, rediss:// where it encrypts",
    AwayReason.TIMEOUT: "look at its load and the network, or raise GATEWAY_SHARED_TIMEOUT_MS",
    AwayReason.TLS: "set GATEWAY_SHARED_CA to the authority of its certificate, and the host that it is for",
    AwayReason.LOGIN: "set GATEWAY_SHARED_USERNAME and GATEWAY_SHARED_PASSWORD as its ACL has them",
    AwayReason.PERMISSION: "give the user what docs/several-processes.md lists",
    AwayReason.LOADING: "wait until it has read its data, found its primary or ended a script",
    AwayReason.PROTOCOL: "look whether it is Valkey 8 or Redis 7, how many clients it takes, and what stands between",
}
_REFUSED = {
    "NOPERM": "give the user what docs/several-processes.md lists",
    "OOM": "raise its maxmemory, or set a maxmemory-policy that evicts",
    "READONLY": "let GATEWAY_SHARED_URL name the primary",
    "MISCONF": "look at its disk: it does not write while it cannot save",
    "MOVED": "let GATEWAY_SHARED_URL name a server that is no part of a cluster",
    "CROSSSLOT": "let GATEWAY_SHARED_URL name a server that is no part of a cluster",
    "FULL": "look at its load: more waits for it than may wait",
    "CLOCK": "keep its clock by NTP; what it holds counts as older by what the clock was put back",
}


class SharedStoreEvents:
    """Writes each change once; while nothing changes, each further reason and kind of error once."""

    def __init__(self, log: structlog.typing.FilteringBoundLogger, metrics: SharedStoreMetrics | None = None) -> None:
        self._log = log
        self._metrics = metrics or SharedStoreMetrics()
        self._said: set[str] = set()

    def store_begun(self) -> None:
        """A store is configured."""
        self._metrics.begin()

    def store_up(self) -> None:
        """The store answers, for the first time or again."""
        self._metrics.up()
        self._said.clear()
        self._log.info("shared_store.up")

    def store_away(self, reason: AwayReason) -> None:
        """The store does not answer any more, or a connection failed."""
        self._metrics.away(reason)
        if reason is not AwayReason.CLOSED and reason not in self._said:
            self._said.add(reason)
            action = f"{_ACTIONS.get(reason, 'wait')}; the process goes on alone"
            self._log.warning("shared_store.away", reason=reason.value, action=action)

    def store_refused(self, kind: str) -> None:
        """The server answered a script with an error."""
        self._metrics.refused(kind)
        if kind not in self._said:
            self._said.add(kind)
            action = _REFUSED.get(kind, "look whether it is Valkey 8 or Redis 7, and at its own log")
            self._log.warning("shared_store.refused", kind=kind, action=f"{action}; who asked goes on alone")

    def store_garbage(self) -> None:
        """Something in the store is not what a process with this secret wrote."""
        self._metrics.garbage()
        if "garbage" not in self._said:
            self._said.add("garbage")
            action = "look who else writes to it; it counts as not there"
            self._log.warning("shared_store.garbage", action=action)

    def store_answered(self, seconds: float) -> None:
        """The store answered after so many seconds."""
        self._metrics.answered(seconds)

    def shared_read(self, what: SharedRead, outcome: ReadOutcome) -> None:
        """A look into the store before a call to Leyr ended."""
        self._metrics.shared_read(what, outcome)
