"""The schema, made of the types."""

import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.domain.errors import GatewayError
from gateway.domain.personal_numbers import refuse_name
from gateway.engine.document_limits import DocumentLimits
from gateway.engine.engine import EngineConfig
from gateway.schema.care_unit import CareUnit
from gateway.schema.context import Info
from gateway.schema.healthcare_service import HealthcareService
from gateway.schema.loaders import Views
from gateway.schema.query import Query
from gateway.schema.resource import Resource
from gateway.schema.scalars import PLAIN_SCALARS, scalar_map


def build_schema() -> strawberry.Schema:
    """The executable schema, sorted by name."""
    return strawberry.Schema(
        query=Query,
        types=[CareUnit, Resource, HealthcareService],
        config=StrawberryConfig(info_class=Info, scalar_map=scalar_map(), sort_schema=True),
    )


def engine_config(
    limits: DocumentLimits | None = None, *, max_errors: int = 20, introspection: bool = False
) -> EngineConfig:
    """What the engine is told of this schema: its plain scalars, its error tree, and that names may be personal."""
    return EngineConfig(
        limits or DocumentLimits(),
        plain_scalars=PLAIN_SCALARS,
        expected_errors=GatewayError,
        max_errors=max_errors,
        refuse_name=refuse_name,
        introspection=introspection,
    )


def build_views() -> Views:
    """How the loaders make GraphQL objects of what Leyr lists."""
    return Views(care_unit=CareUnit.of, resource=Resource.of, healthcare_service=HealthcareService.of)


def print_sdl(schema: strawberry.Schema) -> str:
    """The schema definition language text, with one newline at its end."""
    return schema.as_str().rstrip("\n") + "\n"
