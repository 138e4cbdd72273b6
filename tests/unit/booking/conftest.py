from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.stores import Store, running_store
from tests.unit.booking.journals import InAFile, InAStore, Place
from tests.unit.booking.processes import Machine


@pytest.fixture
def machine() -> Iterator[Machine]:
    made = Machine()
    yield made
    made.close()


@pytest.fixture(scope="session")
def server() -> Iterator[Store]:
    with running_store("--appendonly", "yes", "--appendfsync", "always") as store:
        yield store


@pytest.fixture(params=["file", "store"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A new journal in each of the places where one may be."""
    if request.param == "file":
        return InAFile(tmp_path)
    server: Store = request.getfixturevalue("server")
    return InAStore(server.socket, f"{uuid4().hex}:")
