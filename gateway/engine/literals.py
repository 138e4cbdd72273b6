"""Refuses literals where a document may hold variables only, in linear time, whether or not the document is valid."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from graphql import (
    ArgumentNode,
    DocumentNode,
    ExecutableDefinitionNode,
    FieldNode,
    GraphQLError,
    ListTypeNode,
    ListValueNode,
    NamedTypeNode,
    NonNullTypeNode,
    NullValueNode,
    ObjectValueNode,
    OperationDefinitionNode,
    TypeNode,
    ValueNode,
    VariableDefinitionNode,
    VariableNode,
)

from gateway.engine.errors import LiteralNotAllowedError
from gateway.engine.selection import walk

RefuseLiteral: TypeAlias = Callable[[str | None, str], str | None]
"""Gives the reason to refuse literals in an argument of a field or a directive, by the names of both; without the first
in a field of an input object, or in a default of an input type. None for most."""


def check_literals(document: DocumentNode, refuse: RefuseLiteral) -> None:
    """Raises GraphQLError, without quoting it, where a literal stands at a place for variables, or gets there.

    A variable's default gets wherever the variable does.
    """
    definitions = [each for each in document.definitions if isinstance(each, ExecutableDefinitionNode)]
    variables: dict[str, str] = {}
    for owner, argument in _arguments(definitions):
        _check(argument.value, refuse(owner, argument.name.value), refuse, variables)
    for definition in _variables(definitions):
        reason = refuse(None, _type_name(definition.type)) or variables.get(definition.variable.name.value)
        if definition.default_value is not None:
            _check(definition.default_value, reason, refuse, variables)


def _check(value: ValueNode, reason: str | None, refuse: RefuseLiteral, variables: dict[str, str]) -> None:
    values = [(value, reason)]
    while values:
        node, why = values.pop()
        if isinstance(node, VariableNode):
            if why is not None:
                variables[node.name.value] = why
        elif isinstance(node, ListValueNode):
            values += [(each, why) for each in node.values]
        elif isinstance(node, ObjectValueNode):
            values += [(each.value, why or refuse(None, each.name.value)) for each in node.fields]
        elif why is not None and not isinstance(node, NullValueNode):
            raise GraphQLError(why, node, original_error=LiteralNotAllowedError(why))


def _arguments(definitions: Iterable[ExecutableDefinitionNode]) -> Iterator[tuple[str, ArgumentNode]]:
    """All arguments, each with the name of its field or its directive."""
    for definition in definitions:
        nodes = [definition, *_variables([definition]), *(node for node, _ in walk(definition.selection_set))]
        for node in nodes:
            if isinstance(node, FieldNode):
                yield from ((node.name.value, each) for each in node.arguments or ())
            for directive in getattr(node, "directives", None) or ():
                yield from ((directive.name.value, each) for each in directive.arguments or ())


def _variables(definitions: Iterable[ExecutableDefinitionNode]) -> Iterator[VariableDefinitionNode]:
    for definition in definitions:
        if isinstance(definition, OperationDefinitionNode):
            yield from definition.variable_definitions or ()


def _type_name(node: TypeNode) -> str:
    while isinstance(node, ListTypeNode | NonNullTypeNode):
        node = node.type
    return node.name.value if isinstance(node, NamedTypeNode) else ""
