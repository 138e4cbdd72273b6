"""The schema, made of the types."""

import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.schema.care_unit import CareUnit
from gateway.schema.context import Info
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.loaders import Views
from gateway.schema.query import Query
from gateway.schema.resource import Resource
from gateway.schema.scalars import scalar_map


def build_schema() -> strawberry.Schema:
    """The executable schema, sorted by name."""
    return strawberry.Schema(
        query=Query,
        types=[CareUnit, Resource, HealthcareService],
        config=StrawberryConfig(info_class=Info, scalar_map=scalar_map(), sort_schema=True),
    )


def build_views() -> Views:
    """How the loaders make GraphQL objects of what Leyr lists."""
    return Views(care_unit=CareUnit.of, resource=Resource.of, healthcare_service=HealthcareService.of)


def print_sdl(schema: strawberry.Schema) -> str:
    """The schema definition language text, with one newline at its end."""
    return schema.as_str().rstrip("\n") + "\n"
