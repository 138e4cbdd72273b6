"""What the fields of a document ask for that read timeslots, from their arguments and the request's variables."""

from dataclasses import dataclass
from typing import NamedTuple

import strawberry
from graphql import FieldNode, GraphQLArgument, GraphQLField, GraphQLSchema, get_argument_values
from graphql.execution.values import VariableValues
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments

from gateway.domain.availability import AvailabilityRequest
from gateway.engine.compiler import declared_field
from gateway.schema.timeslot_queries import TimeslotFilter, TimeslotsRequest

ASKS = "asks"
"""Metadata of a field that reads timeslots: what makes a `TimeslotsRequest` of its arguments.

Without it they are those of a `timeslots` field.
"""


@dataclass(frozen=True, slots=True)
class TimeslotsField:
    """A field that reads timeslots: of what type, and whether it stands in the very node that was found."""

    node: FieldNode
    definition: GraphQLField
    parent: str
    is_own: bool


class TimeslotsArguments(NamedTuple):
    """What a field asks for, and the type that it is a field of: None for the node that was found."""

    request: TimeslotsRequest
    of: str | None

    @property
    def most_queries(self) -> int:
        """How many queries it may make of a care unit."""
        return self.request.most_queries if isinstance(self.request, AvailabilityRequest) else 1

    @property
    def names_services(self) -> bool:
        """Whether the list of services has to tell which are meant."""
        asked = self.request
        return isinstance(asked, AvailabilityRequest) and asked.filter.healthcare_service_names is not None


def arguments_of(asking: TimeslotsField, schema: GraphQLSchema, variables: VariableValues) -> TimeslotsArguments:
    """What a field asks for. Raises GraphQLError and domain errors."""
    of = None if asking.is_own else asking.parent
    values = get_argument_values(asking.definition, asking.node, variables)
    declared = declared_field(asking.definition)
    request_of = None if declared is None else declared.metadata.get(ASKS)
    if declared is None or request_of is None:
        named = {python_name(asking.definition.args[name]): value for name, value in values.items()}
        return TimeslotsArguments(TimeslotFilter(*(named.get(name) for name in TimeslotFilter.NAMES)), of)
    own: strawberry.Schema = schema._strawberry_schema  # type: ignore[attr-defined] # noqa: SLF001 # as Strawberry's own info finds it
    registry, config = own.schema_converter.scalar_registry, own.config
    request = request_of(**convert_arguments(values, declared.arguments, registry, config))
    return TimeslotsArguments(request, of)


def python_name(argument: GraphQLArgument) -> str:
    """The name of the resolver's parameter for an argument."""
    declared = argument.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    return "" if declared is None else str(declared.python_name)
