"""The arguments of a field: coerced once for each request, and handed to resolvers as Strawberry hands them."""

from collections.abc import Mapping
from typing import Any

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    get_named_type,
    get_nullable_type,
    is_enum_type,
    is_leaf_type,
    is_list_type,
)
from graphql.execution.values import VariableValues, get_argument_values
from strawberry.relay import GlobalID
from strawberry.schema.schema_converter import GraphQLCoreConverter
from strawberry.types.arguments import convert_arguments
from strawberry.types.base import StrawberryContainer, StrawberryMaybe
from strawberry.types.field import StrawberryField

from gateway.engine.errors import LimitExceededError


class ArgumentConverter:
    """What Strawberry needs to convert arguments, and how long a list in them may be."""

    def __init__(self, scalar_registry: Any, config: Any, list_items: int, *, hide_suggestions: bool) -> None:
        self.scalar_registry = scalar_registry
        self.config = config
        self.list_items = list_items
        self.hide_suggestions = hide_suggestions

    def check(self, value: Any) -> None:
        """Check the lists in a coerced value. Raises LimitExceededError."""
        if isinstance(value, list):
            if len(value) > self.list_items:
                raise LimitExceededError(
                    f"A list in the arguments has {len(value)} items; the limit is {self.list_items}"
                )
            for each in value:
                self.check(each)
        elif isinstance(value, dict):
            for each in value.values():
                self.check(each)


class Arguments:
    """The arguments of a field in a document.

    Scalars, and lists of them, are the same for Strawberry and graphql-core. Everything else is converted for each run
    of the resolver, since resolvers may change lists and input objects; values that `are_reusable` are neither.
    """

    __slots__ = ("_converter", "_declared", "_definition", "_names", "_node", "are_reusable", "is_empty")

    def __init__(
        self,
        definition: GraphQLField,
        node: FieldNode,
        declared: StrawberryField | None,
        converter: ArgumentConverter,
    ) -> None:
        """Without `declared` the resolver takes graphql-core's own arguments."""
        self._definition = definition
        self._node = node
        self._declared = declared
        self._converter = converter
        self._names = None if declared is None else _plain_names(definition)
        self.is_empty = not definition.args
        self.are_reusable = self._names is not None and not any(map(_has_list, definition.args.values()))

    def values(self, variables: VariableValues) -> dict[str, Any]:
        """The coerced values, to be given to `fresh`. Raises GraphQLError and LimitExceededError."""
        values = get_argument_values(
            self._definition, self._node, variables, hide_suggestions=self._converter.hide_suggestions
        )
        for value in values.values():
            self._converter.check(value)
        if self._names is None:
            return values
        return {self._names[name]: value for name, value in values.items()}

    def fresh(self, values: dict[str, Any], info: Any) -> Mapping[str, Any]:
        """The keyword arguments for one run of the resolver; input types may be made with the field's info."""
        if self._names is not None or self._declared is None:
            return {name: _copied(value) for name, value in values.items()}
        return convert_arguments(
            values,
            self._declared.arguments,
            scalar_registry=self._converter.scalar_registry,
            config=self._converter.config,
            info=info,
        )


def _plain_names(definition: GraphQLField) -> dict[str, str] | None:
    """The arguments' Python names; None where Strawberry converts one for the resolver."""
    names: dict[str, str] = {}
    for name, argument in definition.args.items():
        known = argument.extensions.get(GraphQLCoreConverter.DEFINITION_BACKREF)
        named = get_named_type(argument.type)
        if known is None or not is_leaf_type(named) or is_enum_type(named) or not _passes_unchanged(known.type):
            return None
        names[name] = known.python_name
    return names


def _passes_unchanged(declared: Any) -> bool:
    """Whether Strawberry hands an argument's value, or the values in its list, to resolvers as graphql-core made it."""
    while isinstance(declared, StrawberryContainer) and not isinstance(declared, StrawberryMaybe):
        declared = declared.of_type
    return not isinstance(declared, StrawberryMaybe) and declared is not GlobalID


def _has_list(argument: GraphQLArgument) -> bool:
    return is_list_type(get_nullable_type(argument.type))


def _copied(value: Any) -> Any:
    """A copy of a list: a default or a variable is shared, and a resolver may change what it gets."""
    return [_copied(each) for each in value] if isinstance(value, list) else value
