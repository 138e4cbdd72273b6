"""Faults, queued over the admin path or asked by a test-only header: which requests they match, and what is written."""

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from random import Random
from typing import Annotated, Literal, get_args

import msgspec
from msgspec.structs import asdict, replace

from gateway.simulator.clinics import rng
from gateway.simulator.http_messages import WRITES, Endpoint, Request

FaultName = Literal[
    "delay",
    "hang",
    "drip",
    "service_unavailable",
    "too_many_requests",
    "too_many_requests_bare",
    "emr_error_401",
    "emr_error_429",
    "emr_error_500",
    "unknown_error",
    "bad_gateway_html",
    "html_200",
    "malformed_json",
    "truncated_json",
    "cut",
    "cut_mid_body",
    "wrong_types",
    "item_without_id",
    "huge_list",
    "empty_list",
    "object_body",
    "redirect",
    "unauthorized_html",
]
FAULT_NAMES: tuple[str, ...] = get_args(FaultName)
FAULT_HEADER = "x-simulator-fault"
"""Its value is a fault's name, optionally with seconds and with what becomes of a write, as in `cut:0.5;late`."""
Write = Literal["done", "skipped", "late"]
"""What becomes of a write whose call has a fault: made before the response, never, or after so many seconds."""
_CHANGES_OF_THE_RIGHT_RESPONSE = frozenset(
    ("drip", "truncated_json", "cut_mid_body", "wrong_types", "item_without_id", "huge_list")
)
# By their status these say that nothing was done.
_REFUSALS = frozenset(
    (
        *("too_many_requests", "too_many_requests_bare", "emr_error_401", "emr_error_429", "unknown_error"),
        *("unauthorized_html", "redirect"),
    )
)


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault and the requests it matches; what is not given matches every request."""

    fault: FaultName
    path: str | None = None
    """The raw path: whole segments of its beginning, or an fnmatch pattern."""
    emr: str | None = None
    endpoint: Endpoint | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many requests the fault is still for; None means all."""
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    """How long `delay` and `drip` take, and after how long a late write is made."""
    write: Write | None = None
    """None means skipped where the response is a refusal, and done before all other faults."""
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """How likely the fault is for each request that matches; several make a mixture, and the first one drawn counts."""
    seed: int | None = None
    """Seeds the drawing; None means by the simulator's seed."""

    def __post_init__(self) -> None:
        changed = self.fault in _CHANGES_OF_THE_RIGHT_RESPONSE
        if (self.write in ("skipped", "late") and changed) or (self.write == "skipped" and self.fault == "delay"):
            raise ValueError(f"{self.fault} has the right response, which there is not when the write is {self.write}")

    @property
    def effect(self) -> Write:
        """What becomes of a write."""
        return self.write or ("skipped" if self.fault in _REFUSALS else "done")

    def is_slow_write(self, request: Request) -> bool:
        """Is the request's write to be made late, and answered then?"""
        return self.fault == "delay" and self.effect == "late" and request.route.endpoint in WRITES

    def matches(self, request: Request) -> bool:
        """Is the fault for this request?"""
        return (
            self.emr in (None, request.route.emr)
            and self.endpoint in (None, request.route.endpoint)
            and (self.path is None or _path_matches(self.path, request.path))
        )


class UnknownFaultError(ValueError):
    """A request asks by header for a fault that does not exist; the message lists those that do."""


@dataclass(slots=True)
class _Queued:
    """A fault in the queue, and the numbers by which its share is drawn."""

    fault: Fault
    random: Random


@dataclass(slots=True)
class FaultQueue:
    """The faults that wait for requests, oldest first; the same seed and order of requests draw the same ones."""

    seed: int
    _queue: list[_Queued] = field(default_factory=list)

    def add(self, fault: Fault) -> None:
        """Queue a fault behind the others."""
        seed = self.seed if fault.seed is None else fault.seed
        self._queue.append(_Queued(fault, rng(seed, "faults", len(self._queue))))

    def clear(self) -> None:
        """Forget every fault."""
        self._queue.clear()

    def to_json(self) -> list[dict[str, object]]:
        """Give the JSON of `/__faults`."""
        return [asdict(queued.fault) for queued in self._queue]

    def take(self, request: Request) -> Fault | None:
        """Give the fault of a request: that of its header, else the oldest that matches and is drawn, which is counted.

        Raises UnknownFaultError.
        """
        if asked := request.headers.get(FAULT_HEADER):
            return _read_header(asked)
        for queued in self._queue:
            fault = queued.fault
            if fault.matches(request) and (fault.share == 1 or queued.random.random() < fault.share):
                if fault.times == 1:
                    self._queue.remove(queued)
                elif fault.times is not None:
                    queued.fault = replace(fault, times=fault.times - 1)
                return fault
        return None


def _read_header(value: str) -> Fault:
    text, _, write = value.strip().partition(";")
    name, _, seconds = text.partition(":")
    given = {"fault": name, "seconds": seconds, "write": write}
    try:
        return msgspec.convert({key: each for key, each in given.items() if each}, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise UnknownFaultError(
            f"{FAULT_HEADER}: {error}; known faults: {', '.join(FAULT_NAMES)}, then optionally :seconds, then"
            f" optionally one of {', '.join(f';{each}' for each in get_args(Write))}"
        ) from error


def _path_matches(pattern: str, path: str) -> bool:
    # By whole segments, so that L0_1 does not match L0_10.
    return path == pattern or path.startswith(pattern.rstrip("/") + "/") or fnmatchcase(path, pattern)
