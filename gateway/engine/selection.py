"""How to go through what a document selects: fields, fragments with their type conditions, `@skip` and `@include`."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLIncludeDirective,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    SelectionNode,
    SelectionSetNode,
    get_directive_values,
    is_abstract_type,
)
from graphql.execution.values import VariableValues


def walk(
    selections: SelectionSetNode, enters: Callable[[SelectionNode], bool] = lambda _: True
) -> Iterator[tuple[SelectionNode, int]]:
    """Each selection as it is written, with its level: 1, and one more below each field.

    What fields and inline fragments hold follows where `enters` says so; spreads are not followed. The selections of
    one set come together, before those of the sets that they hold.
    """
    waiting = [(selections, 1)]
    while waiting:
        selection_set, level = waiting.pop()
        for selection in selection_set.selections:
            yield selection, level
            held = getattr(selection, "selection_set", None)
            if held is not None and enters(selection):
                waiting.append((held, level + 1 if isinstance(selection, FieldNode) else level))


def type_within(schema: GraphQLSchema, fragment: InlineFragmentNode | FragmentDefinitionNode, parent: Any) -> Any:
    """The type whose fields a fragment selects: that of its condition, None where the schema has none of the name."""
    condition = fragment.type_condition
    return parent if condition is None else schema.get_type(condition.name.value)


@dataclass(slots=True)
class Selections:
    """What a valid document selects for one request: its variables decide."""

    schema: GraphQLSchema
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: VariableValues

    def fields(
        self, selections: SelectionSetNode | None, parent: GraphQLObjectType, entered: set[str] | None = None
    ) -> Iterator[FieldNode]:
        """The fields that are selected of an object, in the document's order, through fragments.

        A fragment of a name in `entered` is passed over, and the names of all others are added.
        """
        entered = set() if entered is None else entered
        stack = [] if selections is None else [iter(selections.selections)]
        while stack:
            selection = next(stack[-1], None)
            if selection is None:
                stack.pop()
            elif not self.includes(selection):
                continue
            elif isinstance(selection, FieldNode):
                yield selection
            else:
                fragment = self._fragment(selection, parent, entered)
                if fragment is not None:
                    stack.append(iter(fragment.selection_set.selections))

    def grouped(self, sets: Iterable[SelectionSetNode | None], parent: GraphQLObjectType) -> dict[str, list[FieldNode]]:
        """The fields that selection sets select of one object, by their key in its answer."""
        entered: set[str] = set()
        groups: dict[str, list[FieldNode]] = {}
        for selections in sets:
            for node in self.fields(selections, parent, entered):
                groups.setdefault(node.alias.value if node.alias else node.name.value, []).append(node)
        return groups

    def includes(self, node: SelectionNode) -> bool:
        """Whether `@skip` and `@include` let a selection in; not where their arguments are wrong."""
        try:
            return self._includes(node)
        except GraphQLError:
            return False

    def _includes(self, node: SelectionNode) -> bool:
        if not node.directives:
            return True
        skip = get_directive_values(GraphQLSkipDirective, node, self.variables)
        if skip and skip["if"]:
            # As in graphql-core, what `@include` says of a selection that is skipped is not looked at.
            return False
        include = get_directive_values(GraphQLIncludeDirective, node, self.variables)
        return include is None or bool(include["if"])

    def _fragment(
        self, selection: SelectionNode, parent: GraphQLObjectType, entered: set[str]
    ) -> InlineFragmentNode | FragmentDefinitionNode | None:
        """The fragment to go through for a selection; None where it was before, or is about other objects."""
        fragment: Any = selection
        if isinstance(selection, FragmentSpreadNode):
            name = selection.name.value
            if name in entered:
                return None
            entered.add(name)
            fragment = self.fragments[name]
        condition = type_within(self.schema, fragment, parent)
        applies = condition is parent or (is_abstract_type(condition) and self.schema.is_sub_type(condition, parent))
        return fragment if applies else None
