"""What is unknown about an EHR behind Leyr, as switches; each default is the harder choice for a client."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

FilterPolicy = Literal["none_required", "any_one", "resource", "service", "both"]


class Manners(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one EHR behaves; None in `filter_policy` and `latency_ms` means as the EHR does by itself."""

    filter_policy: FilterPolicy | None = None
    """Which filters the timeslots call demands."""
    longest_window_days: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """A longer window is answered with 400 BAD_INPUT."""
    resource_ids: Literal["named", "null"] = "named"
    """`null`: slots do not tell their resource, though filtering by it works."""
    service_ids: Literal["named", "null"] = "named"
    """`null`: slots do not tell their service, though filtering by it works."""
    time_format: Literal["local", "utc"] = "local"
    """Local offsets, or UTC written with `Z`."""
    empty_answer: Literal["list", "error"] = "list"
    """`error`: nothing free is answered with 400 NO_TIMESLOTS_AVAILABLE."""
    membership: Literal["inside", "by_start"] = "inside"
    """A slot belongs to a window that holds all of it, or to one that holds its start (end excluded)."""
    wrapped_lists: bool = False
    """Lists come as `{"items": [...]}`."""
    ignores_filters: bool = False
    """Slots of all resources and services are returned whatever the filters say."""
    latency_ms: Annotated[float, msgspec.Meta(ge=0)] | None = None
    """Milliseconds before an answer; None means the simulator's own."""
    latency_jitter: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.3
    """Share of the latency by which it varies up and down."""


class MannersBook:
    """The manners of every EHR, changeable while the simulator runs."""

    def __init__(self, manners: Mapping[str, Manners]) -> None:
        self._at_start = dict(manners)
        self._manners = dict(manners)

    def __getitem__(self, emr: str) -> Manners:
        return self._manners[emr]

    def all(self) -> Mapping[str, Manners]:
        """Give everyone's manners, by EHR code."""
        return dict(self._manners)

    def change(self, emr: str, patch: bytes) -> Manners:
        """Lay a JSON object of switches over an EHR's manners; raises msgspec.DecodeError."""
        switches = msgspec.json.decode(patch, type=dict[str, object])
        changed = msgspec.convert({**msgspec.structs.asdict(self._manners[emr]), **switches}, Manners)
        self._manners[emr] = _completed(changed, self._at_start[emr])
        return self._manners[emr]

    def restore(self) -> None:
        """Go back to the manners of start-up."""
        self._manners = dict(self._at_start)


def settle(manners: Manners, filter_policy: FilterPolicy, latency_ms: float) -> Manners:
    """Fill in what the manners leave to the EHR and to the simulator."""
    return _completed(manners, Manners(filter_policy=filter_policy, latency_ms=latency_ms))


def _completed(manners: Manners, own: Manners) -> Manners:
    return msgspec.structs.replace(
        manners,
        filter_policy=manners.filter_policy or own.filter_policy,
        latency_ms=own.latency_ms if manners.latency_ms is None else manners.latency_ms,
    )
