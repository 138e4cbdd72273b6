from collections.abc import Iterator

import pytest

from tests.unit.booking.processes import Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()
