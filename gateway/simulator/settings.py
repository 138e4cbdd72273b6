"""What a simulator is told at start, and what it says about itself, so that nobody takes it for Leyr."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from gateway.simulator.behaviour import Behaviour
from gateway.simulator.ehrs import EHRS


@dataclass(frozen=True, kw_only=True, slots=True)
class SimulatorSettings:
    """A simulator's data and behaviour; equal settings give equal answers in every process."""

    seed: int = 1
    today: date
    """The first of the 60 days that have free times."""
    scale: int = 1
    """Multiplies the resources of each care unit, and so the slots; care units stay, services grow slowly."""
    latency_ms: float = 150
    """Milliseconds before an answer, for EHRs whose behaviour say nothing else; 0 turns latency off."""
    client_id: str = "simulator"
    client_secret: str = field(default="simulator", repr=False)
    behaviour: Mapping[str, Behaviour] = field(default_factory=dict)
    """Behaviour at start, by EHR code."""

    def __post_init__(self) -> None:
        if self.scale < 1:
            raise ValueError("scale must be at least 1")
        if self.latency_ms < 0:
            raise ValueError("latency_ms must not be negative")
        if unknown := sorted(set(self.behaviour) - set(EHRS)):
            raise ValueError(f"no such EHR: {', '.join(unknown)}; known are {', '.join(EHRS)}")

    @property
    def emrs(self) -> tuple[str, ...]:
        """The codes of the EHRs that the simulator plays, webdoc first."""
        return tuple(EHRS)


def announcement(settings: SimulatorSettings) -> str:
    """Say what this is, for the terminal and for `GET /`."""
    return (
        "This is a simulator of Leyr, not Leyr. It was built from Leyr's public documentation, not from\n"
        "Leyr's code. What the documentation leaves open was chosen, on purpose the less convenient way,\n"
        "and can be switched (GET /__manners, PATCH /__manners/{emr}). All clinics and people are invented.\n"
        f"EHRs: {', '.join(settings.emrs)}. Seed {settings.seed}, scale {settings.scale}, "
        f"60 days from {settings.today.isoformat()}, latency {settings.latency_ms:g} ms.\n"
    )
