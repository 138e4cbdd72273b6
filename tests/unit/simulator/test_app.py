"""The settings of a simulator: their defaults, and what is refused."""

from datetime import date

import pytest

from gateway.simulator import Behaviour, SimulatorSettings

TODAY = date(2026, 3, 2)


def test_ehrs_in_order() -> None:
    assert SimulatorSettings(today=TODAY).emrs[:5] == (
        "webdoc",
        "kaddio",
        "cliniko",
        "takecare",
        "anitasystems",
    )


def test_defaults_and_no_secret_in_repr() -> None:
    settings = SimulatorSettings(today=TODAY, client_secret="hush")
    assert (settings.seed, settings.scale, settings.latency_ms, settings.client_id) == (
        1,
        1,
        150,
        "simulator",
    )
    assert "hush" not in repr(settings)


def test_bad_settings() -> None:
    with pytest.raises(ValueError, match="scale"):
        SimulatorSettings(today=TODAY, scale=0)
    with pytest.raises(ValueError, match="latency_ms"):
        SimulatorSettings(today=TODAY, latency_ms=-1)
    with pytest.raises(ValueError, match="nobody"):
        SimulatorSettings(today=TODAY, behaviour={"nobody": Behaviour()})
