"""Documents that were parsed, validated and compiled before."""

import hashlib
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from graphql import (
    DirectiveNode,
    DocumentNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    VariableNode,
    Visitor,
    specified_rules,
    validate,
    visit,
)
from graphql.execution.values import VariableValues

from gateway.domain.errors import BadUserInput
from gateway.execution.compiling import Program, compiled
from gateway.execution.errors import MOST_ERRORS
from gateway.execution.limits import DocumentLimits, check_operations
from gateway.execution.overlapping import OverlappingFieldsRule
from gateway.execution.parsing import parsed
from gateway.execution.projection import Projector
from gateway.execution.variables import VariableRules
from gateway.execution.writers import NotDirectError

# A parsed document takes some forty times the memory of its text.
_MOST_CHARACTERS = 256 * 1024
_LONGEST_KEPT = 16 * 1024
# A position of a compiled program takes about a kilobyte.
_MOST_POSITIONS = 32 * 1024


@dataclass(frozen=True, slots=True, eq=False)
class Document:
    """A parsed document, what is wrong with it, and what was compiled of it; `digest` is its text's."""

    digest: str
    node: DocumentNode
    errors: Sequence[GraphQLError]
    fragments: dict[str, FragmentDefinitionNode]
    steering: frozenset[str]
    characters: int
    programs: dict[Hashable, Program | None] = field(default_factory=dict)
    rules: dict[str | None, VariableRules] = field(default_factory=dict)

    @property
    def is_kept(self) -> bool:
        """Whether it is short enough to be kept."""
        return self.characters <= _LONGEST_KEPT

    @property
    def positions(self) -> int:
        """The positions of all its programs; one that could not be compiled counts too."""
        return sum(1 if program is None else program.positions for program in self.programs.values())

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation to run; a document with several needs a name. Raises BadUserInput."""
        operations = [node for node in self.node.definitions if isinstance(node, OperationDefinitionNode)]
        if not operations:
            raise BadUserInput("The document holds no operation")
        if name is None:
            if len(operations) > 1:
                raise BadUserInput("The document holds several operations; say in operationName which one to run")
            return operations[0]
        for operation in operations:
            if operation.name and operation.name.value == name:
                return operation
        raise BadUserInput("The document holds no operation of the name in operationName")


def digest_of(text: str) -> str:
    """The SHA-256 of a document in hexadecimal: what it is known by, since its text may hold personal data."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class Documents:
    """Parses, validates and compiles; keeps what it made, least recently used first to go, in a bound of text."""

    def __init__(
        self,
        schema: GraphQLSchema,
        projector: Projector,
        limits: DocumentLimits | None = None,
        *,
        introspection: bool = False,
    ) -> None:
        self._schema = schema
        self._projector = projector
        self._limits = limits or DocumentLimits()
        self._introspection = introspection
        self._rules = [
            OverlappingFieldsRule if rule is OverlappingFieldsCanBeMergedRule else rule for rule in specified_rules
        ]
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0
        self._positions = 0

    def read(self, text: str) -> Document:
        """The document of a text, valid or not.

        Raises GraphQLError for what is wrong before it could be validated, OperationTooLarge where it passes a limit,
        and RecursionError for endless nesting.
        """
        digest = digest_of(text)
        found = self._kept.get(digest)
        if found is not None:
            self._kept.move_to_end(digest)
            return found
        node = parsed(text, self._limits)
        check_operations(node, self._limits, introspection=self._introspection)
        errors = validate(self._schema, node, self._rules, MOST_ERRORS, hide_suggestions=not self._introspection)
        fragments = {each.name.value: each for each in node.definitions if isinstance(each, FragmentDefinitionNode)}
        found = Document(digest, node, errors, fragments, _steering(node), len(text))
        if found.is_kept:
            self._keep(found)
        return found

    def variables(self, document: Document, operation: OperationDefinitionNode) -> VariableRules:
        """How the variables of a valid operation are coerced."""
        name = operation.name.value if operation.name else None
        rules = document.rules.get(name)
        if rules is None:
            rules = document.rules[name] = VariableRules(self._schema, operation)
        return rules

    def program(
        self, document: Document, operation: OperationDefinitionNode, variables: VariableValues
    ) -> Program | None:
        """A valid query, compiled for these variables; None where only ordinary execution will do."""
        setting = tuple(variables.coerced.get(name) for name in sorted(document.steering))
        key = (operation.name.value if operation.name else None, setting)
        if key not in document.programs:
            try:
                made = compiled(self._schema, operation, document.fragments, variables, self._projector)
            except (NotDirectError, GraphQLError, RecursionError):
                made = None
            if document.is_kept:
                self._make_room(1 if made is None else made.positions)
            document.programs[key] = made
        return document.programs[key]

    def _make_room(self, positions: int) -> None:
        """Forget what was compiled of the documents that were not used for longest."""
        self._positions += positions
        for document in self._kept.values():
            if self._positions <= _MOST_POSITIONS:
                break
            self._positions -= document.positions
            document.programs.clear()

    def _keep(self, document: Document) -> None:
        self._kept[document.digest] = document
        self._characters += document.characters
        while self._characters > _MOST_CHARACTERS:
            _, forgotten = self._kept.popitem(last=False)
            self._characters -= forgotten.characters
            self._positions -= forgotten.positions
            forgotten.programs.clear()


class _SteeringVariables(Visitor):
    """Collects the variables in directives: they decide what is selected."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def enter_directive(self, node: DirectiveNode, *_: object) -> None:
        for argument in node.arguments or ():
            if isinstance(argument.value, VariableNode):
                self.names.add(argument.value.name.value)


def _steering(node: DocumentNode) -> frozenset[str]:
    visitor = _SteeringVariables()
    visit(node, visitor)
    return frozenset(visitor.names)
