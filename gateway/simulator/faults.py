"""Which requests go wrong, and how: ordered over the admin path or by a test-only header."""

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Literal, get_args

import msgspec

from gateway.simulator.requests import Endpoint, Request

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
"""Its value is a fault's name, optionally with seconds after a colon, as in `delay:0.5`."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of trouble; what is not given matches every request."""

    fault: FaultName
    path: str | None = None
    """The raw path: a beginning that ends where a segment ends, or an fnmatch pattern."""
    emr: str | None = None
    endpoint: Endpoint | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """After so many requests the trouble is over."""
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    """How long `delay` and `drip` take."""

    def strikes(self, request: Request) -> bool:
        """Is this request one that goes wrong?"""
        return (
            self.emr in (None, request.route.emr)
            and self.endpoint in (None, request.route.endpoint)
            and (self.path is None or _path_matches(self.path, request.path))
        )


@dataclass(slots=True)
class _Order:
    fault: Fault
    left: int | None


class UnknownFaultError(ValueError):
    """A request asks by header for a fault that does not exist."""


class FaultBox:
    """The faults that wait for requests; the oldest that matches strikes."""

    def __init__(self) -> None:
        self._orders: list[_Order] = []

    def put(self, fault: Fault) -> None:
        """Order a fault."""
        self._orders.append(_Order(fault, fault.times))

    def clear(self) -> None:
        """Forget every fault."""
        self._orders.clear()

    def pending(self) -> list[dict[str, object]]:
        """Tell the faults that still wait, with how many times are left."""
        return [{**msgspec.structs.asdict(order.fault), "times": order.left} for order in self._orders]

    def take(self, request: Request) -> Fault | None:
        """Give the fault that strikes a request, and count it; the header goes before the orders."""
        if asked := request.headers.get(FAULT_HEADER):
            return _read_header(asked)
        for order in self._orders:
            if order.fault.strikes(request):
                if order.left is not None:
                    order.left -= 1
                    if order.left == 0:
                        self._orders.remove(order)
                return order.fault
        return None


def _read_header(value: str) -> Fault:
    name, _, seconds = value.strip().partition(":")
    wanted: dict[str, object] = {"fault": name}
    if seconds:
        wanted["seconds"] = seconds
    try:
        return msgspec.convert(wanted, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise UnknownFaultError(
            f"{FAULT_HEADER}: {error}; known faults: {', '.join(FAULT_NAMES)}, then optionally :seconds"
        ) from error


def _path_matches(pattern: str, path: str) -> bool:
    # By whole segments, so that L0_1 does not strike L0_10.
    return path == pattern or path.startswith(pattern.rstrip("/") + "/") or fnmatchcase(path, pattern)
