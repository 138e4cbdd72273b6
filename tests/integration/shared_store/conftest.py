"""A store's server for the tests of a file, and the same one emptied for each test."""

from collections.abc import Iterator

import pytest

from tests.stores import Store, running_store


@pytest.fixture(scope="module")
def server() -> Iterator[Store]:
    with running_store() as store:
        yield store


@pytest.fixture
def store(server: Store) -> Store:
    server.command("FLUSHALL")
    return server
