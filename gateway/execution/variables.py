"""The values of an operation's variables, by rules that are looked up once for each operation.

graphql-core reads the types of variables from the document's text anew for each request, which takes longer than to
coerce the values.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from graphql import (
    GraphQLError,
    GraphQLLeafType,
    GraphQLSchema,
    OperationDefinitionNode,
    Undefined,
    get_nullable_type,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values


class _Variable(NamedTuple):
    signature: GraphQLVariableSignature
    leaf: GraphQLLeafType
    is_required: bool


class VariableRules:
    """How the variables of one operation are coerced."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        self._plain = self._found()

    def values(
        self, inputs: Mapping[str, Any], most_errors: int, *, hide_suggestions: bool
    ) -> VariableValues | list[GraphQLError]:
        """What resolvers get, or what is wrong, as `get_variable_values` of graphql-core says it."""
        values = self._quickly(inputs)
        if values is not None:
            return values
        return get_variable_values(self._schema, self._definitions, dict(inputs), most_errors, hide_suggestions)

    def _found(self) -> list[_Variable] | None:
        """The variables, where each is a scalar or an enum."""
        found = []
        for definition in self._definitions:
            signature = get_variable_signature(self._schema, definition)
            if isinstance(signature, GraphQLError):
                return None
            leaf = get_nullable_type(signature.type)
            if not is_leaf_type(leaf):
                return None
            found.append(_Variable(signature, leaf, is_non_null_type(signature.type)))
        return found

    def _quickly(self, inputs: Mapping[str, Any]) -> VariableValues | None:
        """The values, where nothing is wrong and no default is wanted."""
        if self._plain is None:
            return None
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature, leaf, is_required in self._plain:
            name = signature.name
            value = inputs.get(name, Undefined)
            if value is Undefined:
                if is_required or signature.default is not None:
                    return None
                sources[name] = VariableValueSource(signature)
                continue
            sources[name] = VariableValueSource(signature, value)
            if value is None:
                if is_required:
                    return None
                coerced[name] = None
                continue
            try:
                made = leaf.coerce_input_value(value)
            except Exception:  # noqa: BLE001 # whatever it is, graphql-core meets it again and says what is wrong
                return None
            if made is Undefined:
                return None
            coerced[name] = made
        return VariableValues(sources, coerced)
