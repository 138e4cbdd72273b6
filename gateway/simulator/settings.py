"""What a simulator is told at start."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from gateway.simulator.ehrs import EHRS
from gateway.simulator.manners import Manners


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorSettings:
    """A simulator's data and behaviour; equal settings give equal answers in every process."""

    seed: int = 1
    today: date
    """The first of the 60 days that have free times."""
    scale: int = 1
    """Multiplies the resources of each care unit, and so the slots; care units stay, services grow slowly."""
    latency_ms: float = 150
    """Milliseconds before an answer, for EHRs whose manners say nothing else; 0 turns latency off."""
    client_id: str = "simulator"
    client_secret: str = field(default="simulator", repr=False)
    manners: Mapping[str, Manners] = field(default_factory=dict)
    """Manners at start, by EHR code."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise ValueError("scale must be at least 1")
        if self.latency_ms < 0:
            raise ValueError("latency_ms must not be negative")
        if unknown := sorted(set(self.manners) - set(EHRS)):
            raise ValueError(f"no such EHR: {', '.join(unknown)}; known are {', '.join(EHRS)}")

    @property
    def emrs(self) -> tuple[str, ...]:
        """The codes of the EHRs that the simulator plays, webdoc first."""
        return tuple(EHRS)
