"""What the engine asks of a schema: that it can be executed, and of what object type a value is."""

from typing import Any

import strawberry
from graphql import (
    DirectiveLocation,
    FieldNode,
    GraphQLAbstractType,
    GraphQLError,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    default_type_resolver,
    is_object_type,
    specified_directives,
)
from graphql.pyutils import inspect, is_awaitable
from strawberry.schema.schema_converter import GraphQLCoreConverter

_EXECUTABLE_LOCATIONS = frozenset(
    {
        DirectiveLocation.QUERY,
        DirectiveLocation.MUTATION,
        DirectiveLocation.SUBSCRIPTION,
        DirectiveLocation.FIELD,
        DirectiveLocation.FRAGMENT_DEFINITION,
        DirectiveLocation.FRAGMENT_SPREAD,
        DirectiveLocation.INLINE_FRAGMENT,
        DirectiveLocation.VARIABLE_DEFINITION,
    }
)
_KNOWN_DIRECTIVES = frozenset(each.name for each in specified_directives)


def check_schema(schema: strawberry.Schema, info_class: type) -> None:
    """Raises TypeError where the schema has what the engine does not execute, and says what and where."""
    core: GraphQLSchema = schema._schema  # noqa: SLF001 # Strawberry names no public way to its core schema
    if not issubclass(schema.config.info_class, info_class):
        raise TypeError("the schema's info_class does not extend gateway.engine.executor.Info")
    if core.subscription_type is not None:
        raise TypeError("the schema has subscriptions, which the engine does not execute")
    if schema.extensions:
        raise TypeError("the schema has extensions, which the engine does not run; extend fields instead")
    if schema.config.default_resolver is not getattr:
        raise TypeError("the schema's default_resolver is not getattr, by which the engine reads attributes")
    for directive in core.directives:
        if directive.name not in _KNOWN_DIRECTIVES and not _EXECUTABLE_LOCATIONS.isdisjoint(directive.locations):
            raise TypeError(f"the schema has the directive @{directive.name}, which the engine does not execute")


def origin_of(object_type: GraphQLObjectType) -> type | None:
    """The class of a type's objects; None where something else than the class decides."""
    definition = object_type.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
    if definition is None or definition.is_type_of is not None or definition.concrete_of is not None:
        return None
    origin: type = definition.origin
    return origin


def type_of_value(
    value: Any, declared: GraphQLObjectType | GraphQLAbstractType, nodes: list[FieldNode], info: GraphQLResolveInfo[Any]
) -> GraphQLObjectType:
    """The object type of a value of a declared type. Raises GraphQLError where it has none, as graphql-core does."""
    found = declared if isinstance(declared, GraphQLObjectType) else _resolved(value, declared, nodes, info)
    if found.is_type_of is not None:
        belongs = found.is_type_of(value, info)
        if is_awaitable(belongs):
            raise TypeError(f"is_type_of of {found} is asynchronous, which this executor does not support")
        if not belongs:
            raise GraphQLError(f"Expected value of type '{found}' but got: {inspect(value)}.", nodes)
    return found


def _resolved(
    value: Any, abstract: GraphQLAbstractType, nodes: list[FieldNode], info: GraphQLResolveInfo[Any]
) -> GraphQLObjectType:
    name = (abstract.resolve_type or default_type_resolver)(value, info, abstract)
    if is_awaitable(name):
        raise TypeError(f"resolve_type of {abstract} is asynchronous, which this executor does not support")
    where = f"for field '{info.parent_type}.{info.field_name}'"
    if name is None:
        raise GraphQLError(
            f"Abstract type '{abstract}' must resolve to an Object type at runtime {where}. Either the '{abstract}' "
            "type should provide a 'resolve_type' function or each possible type should provide an 'is_type_of' "
            "function.",
            nodes,
        )
    if not isinstance(name, str):
        raise GraphQLError(
            f"Abstract type '{abstract}' must resolve to an Object type at runtime {where} with value "
            f"{inspect(value)}, received '{inspect(name)}', which is not a valid Object type name.",
            nodes,
        )
    found = info.schema.get_type(name)
    if found is None:
        message = f"Abstract type '{abstract}' was resolved to a type '{name}' that does not exist inside the schema."
        raise GraphQLError(message, nodes)
    if not is_object_type(found):
        raise GraphQLError(f"Abstract type '{abstract}' was resolved to a non-object type '{name}'.", nodes)
    if not info.schema.is_sub_type(abstract, found):
        raise GraphQLError(f"Runtime Object type '{found}' is not a possible type for '{abstract}'.", nodes)
    return found
