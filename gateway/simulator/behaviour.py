"""What is unknown about an EHR behind Leyr, as switches; each default is the harder choice for a client."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

FilterPolicy = Literal["none_required", "any_one", "resource", "service", "both"]


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
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


class BehaviourRegistry:
    """The behaviour of every EHR, changeable while the simulator runs."""

    def __init__(self, behaviour: Mapping[str, Behaviour]) -> None:
        self._at_start = dict(behaviour)
        self._behaviour = dict(behaviour)

    def __getitem__(self, emr: str) -> Behaviour:
        return self._behaviour[emr]

    def all(self) -> Mapping[str, Behaviour]:
        """Give everyone's behaviour, by EHR code."""
        return dict(self._behaviour)

    def change(self, emr: str, patch: bytes) -> Behaviour:
        """Lay a JSON object of switches over an EHR's behaviour; raises msgspec.DecodeError."""
        switches = msgspec.json.decode(patch, type=dict[str, object])
        changed = msgspec.convert({**msgspec.structs.asdict(self._behaviour[emr]), **switches}, Behaviour)
        self._behaviour[emr] = _completed(changed, self._at_start[emr])
        return self._behaviour[emr]

    def restore(self) -> None:
        """Go back to the behaviour of start-up."""
        self._behaviour = dict(self._at_start)


def settle(behaviour: Behaviour, filter_policy: FilterPolicy, latency_ms: float) -> Behaviour:
    """Fill in what the behaviour leave to the EHR and to the simulator."""
    return _completed(behaviour, Behaviour(filter_policy=filter_policy, latency_ms=latency_ms))


def _completed(behaviour: Behaviour, own: Behaviour) -> Behaviour:
    return msgspec.structs.replace(
        behaviour,
        filter_policy=behaviour.filter_policy or own.filter_policy,
        latency_ms=own.latency_ms if behaviour.latency_ms is None else behaviour.latency_ms,
    )
