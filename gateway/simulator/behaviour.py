"""What is unknown about an EHR behind Leyr, as switches; each default is the harder choice for a client."""

from collections.abc import Mapping
from typing import Annotated, Literal

import msgspec

from gateway.simulator.ehrs import EHRS, FilterPolicy


class Behaviour(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How one EHR behaves; None in `filter_policy` and `latency_ms` means the EHR's and the simulator's default."""

    filter_policy: FilterPolicy | None = None
    """Which filters the timeslots call demands."""
    longest_window_days: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """A longer window is answered with 400 BAD_INPUT."""
    takes_past: bool = True
    """`false`: a window that begins more than a minute ago is answered with 400 BAD_INPUT."""
    resource_ids: Literal["named", "null"] = "named"
    """`null`: slots do not name their resource, though filtering by it works."""
    service_ids: Literal["named", "null"] = "named"
    """`null`: slots do not name their service, though filtering by it works."""
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


class BehaviourRegistry(dict[str, Behaviour]):
    """The behaviour of every EHR by its code, changeable while the simulator runs."""

    def __init__(self, at_start: Mapping[str, Behaviour], latency_ms: float) -> None:
        self._at_start = {
            code: _completed(
                at_start.get(code, Behaviour()), Behaviour(filter_policy=ehr.filter_policy, latency_ms=latency_ms)
            )
            for code, ehr in EHRS.items()
        }
        super().__init__(self._at_start)

    def change(self, emr: str, patch: bytes) -> Behaviour:
        """Lay a JSON object of switches over an EHR's behaviour; raises msgspec.DecodeError."""
        switches = msgspec.json.decode(patch, type=dict[str, object])
        changed = msgspec.convert({**msgspec.structs.asdict(self[emr]), **switches}, Behaviour)
        self[emr] = _completed(changed, self._at_start[emr])
        return self[emr]

    def restore(self) -> None:
        """Go back to the behaviour of start-up."""
        self.update(self._at_start)


def _completed(behaviour: Behaviour, default: Behaviour) -> Behaviour:
    return msgspec.structs.replace(
        behaviour,
        filter_policy=behaviour.filter_policy or default.filter_policy,
        latency_ms=default.latency_ms if behaviour.latency_ms is None else behaviour.latency_ms,
    )
