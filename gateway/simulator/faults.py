"""Faults, queued over the admin path or asked by a test-only header: and which requests they match."""

from fnmatch import fnmatchcase
from typing import Annotated, Literal, get_args

import msgspec

from gateway.simulator.http_messages import Endpoint, Request

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
    """A fault and the requests it matches; what is not given matches every request."""

    fault: FaultName
    path: str | None = None
    """The raw path: whole segments of its beginning, or an fnmatch pattern."""
    emr: str | None = None
    endpoint: Endpoint | None = None
    times: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """How many requests the fault is still for; None means all."""
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 2.0
    """How long `delay` and `drip` take."""

    def matches(self, request: Request) -> bool:
        """Is the fault for this request?"""
        return (
            self.emr in (None, request.route.emr)
            and self.endpoint in (None, request.route.endpoint)
            and (self.path is None or _path_matches(self.path, request.path))
        )


class UnknownFaultError(ValueError):
    """A request asks by header for a fault that does not exist; the message lists those that do."""


def take_fault(pending: list[Fault], request: Request) -> Fault | None:
    """Give the fault of a request: that of its header, else the oldest pending one that matches, which is counted.

    Raises UnknownFaultError.
    """
    if asked := request.headers.get(FAULT_HEADER):
        return _read_header(asked)
    for index, fault in enumerate(pending):
        if fault.matches(request):
            if fault.times is not None:
                left = [msgspec.structs.replace(fault, times=fault.times - 1)] if fault.times > 1 else []
                pending[index : index + 1] = left
            return fault
    return None


def _read_header(value: str) -> Fault:
    name, _, seconds = value.strip().partition(":")
    try:
        return msgspec.convert({"fault": name, **({"seconds": seconds} if seconds else {})}, Fault, strict=False)
    except msgspec.ValidationError as error:
        raise UnknownFaultError(
            f"{FAULT_HEADER}: {error}; known faults: {', '.join(FAULT_NAMES)}, then optionally :seconds"
        ) from error


def _path_matches(pattern: str, path: str) -> bool:
    # By whole segments, so that L0_1 does not match L0_10.
    return path == pattern or path.startswith(pattern.rstrip("/") + "/") or fnmatchcase(path, pattern)
