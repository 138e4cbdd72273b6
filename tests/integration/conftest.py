"""What all tests of running gateways share."""

import pytest


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    # The loop that the gateway is served on.
    return "asyncio", {"use_uvloop": True}
