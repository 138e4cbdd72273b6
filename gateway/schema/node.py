"""The Node interface of Relay's Global Object Identification.

Strawberry's own relay interface computes an id through a resolver for each object. Here the id is a plain
attribute in the same form, so that lists of nodes need no calls into Python to be completed.
"""

from dataclasses import replace
from typing import Self

import strawberry

from gateway.domain.models import CareUnitKey


@strawberry.interface(description="Something with an id that is unique in the whole graph, and can be fetched by it.")
class Node:
    """Anything that `node(id:)` finds: a care unit, or what belongs to one."""

    id: strawberry.ID = strawberry.field(
        description=(
            "The node id: opaque, stable and unique in the whole graph, so fit for client caches. "
            "It holds the EHR, the care unit and Leyr's id."
        )
    )
    key: strawberry.Private[CareUnitKey]
    multiplicity: strawberry.Private[int] = 1

    def with_multiplicity(self, multiplicity: int) -> Self:
        """The same, as what is written so many times in the answer: once for each slot that it stands under."""
        return self if multiplicity == self.multiplicity else replace(self, multiplicity=multiplicity)
