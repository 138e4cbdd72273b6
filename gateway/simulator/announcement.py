"""What the simulator says about itself, so that nobody takes it for Leyr."""

from gateway.simulator.settings import SimulatorSettings


def announcement(settings: SimulatorSettings) -> str:
    """Say what this is, for the terminal and for `GET /`."""
    return (
        "This is a simulator of Leyr, not Leyr. It was built from Leyr's public documentation, not from\n"
        "Leyr's code. What the documentation leaves open was chosen, on purpose the less convenient way,\n"
        "and can be switched (GET /__manners, PATCH /__manners/{emr}). All clinics and people are invented.\n"
        f"EHRs: {', '.join(settings.emrs)}. Seed {settings.seed}, scale {settings.scale}, "
        f"60 days from {settings.today.isoformat()}, latency {settings.latency_ms:g} ms.\n"
    )
