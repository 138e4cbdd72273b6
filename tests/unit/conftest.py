"""What unit tests of settings share."""

import os
from collections.abc import Callable

import pytest

from gateway.settings import Settings, load_settings


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Read the settings from an environment that holds just these names."""

    def read(**environ: str) -> Settings:
        for name in [name for name in os.environ if name.startswith(("LEYR_", "GATEWAY_"))]:
            monkeypatch.delenv(name)
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        return load_settings()

    return read
