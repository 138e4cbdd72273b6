"""The arguments that `timeslots` fields share."""

from datetime import datetime
from typing import Annotated, TypeAlias, TypeVar

import strawberry
from strawberry import UNSET

T = TypeVar("T")

Start: TypeAlias = Annotated[
    datetime | None,
    strawberry.argument(
        description="First instant of the window; a slot belongs to the window by its start. Now when left out."
    ),
]
End: TypeAlias = Annotated[
    datetime | None,
    strawberry.argument(
        description=(
            "First instant after the window, so not part of it. When left out, 30 days after `start`, or as far as "
            "the gateway grants, if that is less."
        )
    ),
]
ResourceId: TypeAlias = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="Only slots of this resource of the care unit: its node id, or its `leyrId`. All when left out."
    ),
]
HealthcareServiceId: TypeAlias = Annotated[
    strawberry.ID | None,
    strawberry.argument(
        description="Only slots of this service of the care unit: its node id, or its `leyrId`. All when left out."
    ),
]
First: TypeAlias = Annotated[
    int | None,
    strawberry.argument(description="At most so many slots, the earliest ones. All when left out."),
]


def given(value: T | None) -> T | None:
    """The argument's value; None where it was left out or given as null."""
    return None if value is UNSET else value
