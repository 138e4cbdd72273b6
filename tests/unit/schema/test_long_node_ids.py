"""The nodes of a list whose ids are long are made in pieces: each id takes as long as it has characters."""

import pytest
import strawberry

from gateway.domain.models import CareUnitKey, Resource
from gateway.fetch.catalog import CatalogList
from gateway.schema.node import UnitNode, _in_pieces


@pytest.mark.parametrize(("letters", "pauses"), [(5, 0), (1_000, 10)])
def test_nodes_are_made_in_pieces_by_the_length_of_their_ids(letters: int, pauses: int) -> None:
    listed = CatalogList(Resource(f"r{number}") for number in range(2_000))
    made = []

    def node(item: Resource, key: CareUnitKey) -> UnitNode:
        made.append(item)
        return UnitNode(id=strawberry.ID(item.id), key=key)

    assert sum(1 for _ in _in_pieces(node, listed, CareUnitKey("emr", "u" * letters))) == pauses
    assert made == list(listed.items.values())
