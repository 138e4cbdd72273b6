"""A cache of documents: parsed, validated and compiled, with the rules by which their variables are coerced."""

import gc
import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from operator import attrgetter
from sys import getsizeof
from typing import Any, Protocol

from cachetools import LRUCache
from graphql import (
    ASTValidationRule,
    DocumentNode,
    ExecutableDefinitionNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLLeafType,
    GraphQLSchema,
    OperationDefinitionNode,
    OverlappingFieldsCanBeMergedRule,
    Undefined,
    ValuesOfCorrectTypeRule,
    VariableNode,
    get_nullable_type,
    is_leaf_type,
    is_non_null_type,
    specified_rules,
    validate,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values

from gateway.engine.compiler import CompilerConfig, compile_operation
from gateway.engine.document_limits import DocumentLimits, check_operations, parse_document
from gateway.engine.errors import InvalidDocumentError
from gateway.engine.executor import Program
from gateway.engine.literals import RefuseLiteral, check_literals
from gateway.engine.overlapping_fields import OverlappingFieldsRule
from gateway.engine.selection import walk

# graphql-core reads the document's text from its start to locate an error.
MAX_ERRORS = 20
# What a document takes in bytes, at the most that was measured: by itself, for each token (with the syntax tree and the
# rules of variables), for each validation error, and for each position of a compiled program.
_DOCUMENT_BYTES = 4_000
_TOKEN_BYTES = 520
_ERROR_BYTES = 600
_POSITION_BYTES = 3_200
# Each setting of the variables in `@skip` and `@include` makes a program: n of them make two to the power of n.
_MAX_PROGRAMS = 32
# The garbage collector walks through all documents when it walks: 16 MiB of them take it some 50 ms.
_MAX_BYTES = 16 * 1024 * 1024
_MAX_DOCUMENT_BYTES = _MAX_BYTES // 4
_MAX_CACHED_CHARACTERS = 16 * 1024
# A class takes some kilobytes until the garbage collector frees it, which by itself would come after gigabytes of them.
_MAX_UNCOLLECTED_CLASSES = 2_000


class _ValueError(GraphQLError):
    """An error about a value, which it quotes."""


class _ValuesRule(ValuesOfCorrectTypeRule):
    """The only rule that quotes values; its errors say so."""

    def report_error(self, error: GraphQLError) -> None:
        self.context.report_error(_ValueError(error.message, error.nodes, original_error=error.original_error))


_RULES: dict[type[ASTValidationRule], type[ASTValidationRule]] = {
    OverlappingFieldsCanBeMergedRule: OverlappingFieldsRule,
    ValuesOfCorrectTypeRule: _ValuesRule,
}


def validated(schema: GraphQLSchema, document: DocumentNode, *, hide_suggestions: bool) -> list[GraphQLError]:
    """The errors of a document by GraphQL's rules.

    Those that quote names of the document alone are InvalidDocumentErrors; the others are as graphql-core says them.
    """
    rules = [_RULES.get(rule, rule) for rule in specified_rules]
    found = validate(schema, document, rules, MAX_ERRORS, hide_suggestions=hide_suggestions)
    return [
        each if isinstance(each, _ValueError) else _of_names(each, hide_suggestions=hide_suggestions) for each in found
    ]


def _of_names(error: GraphQLError, *, hide_suggestions: bool) -> GraphQLError:
    if error.original_error is not None:
        return error
    # graphql-core goes on suggesting how to select subfields.
    message = error.message.partition(" Did you mean ")[0] if hide_suggestions else error.message
    return GraphQLError(message, error.nodes, original_error=InvalidDocumentError(message))


class MemoryBudget(Protocol):
    """Counts the bytes of cached entries, which their owners keep, and tells an owner when to evict one."""

    def keep(self, name: Hashable, size: int, on_evict: Callable[[], object]) -> bool:
        """Count an entry of `size` bytes, in place of one of the same name; False where it may not be kept."""

    def touch(self, name: Hashable) -> None:
        """Count an entry as the most recently used."""

    def drop(self, name: Hashable) -> None:
        """Stop counting an entry."""


class VariableRules:
    """How the variables of one operation are coerced."""

    def __init__(self, schema: GraphQLSchema, operation: OperationDefinitionNode) -> None:
        self._schema = schema
        self._definitions = operation.variable_definitions or ()
        # The variables with their scalars or enums, and whether they are required; None where one has another type.
        self._leaves: list[tuple[GraphQLVariableSignature, GraphQLLeafType, bool]] | None = []
        for definition in self._definitions:
            signature = get_variable_signature(schema, definition)
            if isinstance(signature, GraphQLError) or not is_leaf_type(leaf := get_nullable_type(signature.type)):
                self._leaves = None
                break
            self._leaves.append((signature, leaf, is_non_null_type(signature.type)))

    def values(
        self, inputs: Mapping[str, Any], max_errors: int, *, hide_suggestions: bool
    ) -> VariableValues | list[GraphQLError]:
        """The coerced values, or the errors that `get_variable_values` of graphql-core gives."""
        return self._coerced_leaves(inputs) or get_variable_values(
            self._schema, self._definitions, dict(inputs), max_errors, hide_suggestions
        )

    def _coerced_leaves(self, inputs: Mapping[str, Any]) -> VariableValues | None:
        """The values, by the shortest way; None where one is wrong or a default is needed."""
        if self._leaves is None:
            return None
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature, leaf, is_required in self._leaves:
            name = signature.name
            value = inputs.get(name, Undefined)
            sources[name] = VariableValueSource(signature, value)
            if value is None or value is Undefined:
                if is_required or (value is Undefined and signature.default is not None):
                    return None
                if value is None:
                    coerced[name] = None
                continue
            try:
                coerced[name] = leaf.coerce_input_value(value)
            except Exception:  # noqa: BLE001 # whatever it is, graphql-core meets it again and says what is wrong
                return None
            if coerced[name] is Undefined:
                return None
        return VariableValues(sources, coerced)


@dataclass(slots=True, eq=False, repr=False)
class Document:
    """A parsed document with its validation errors, and what was compiled of it.

    `digest` is its text's, `directive_variables` are those that decide what is selected, `own_bytes` is what it takes
    in memory without its programs, and `positions` are those of its programs. It has no representation, since its text
    may hold personal data.
    """

    digest: str
    node: DocumentNode
    errors: Sequence[GraphQLError]
    fragments: dict[str, FragmentDefinitionNode]
    directive_variables: Sequence[str]
    characters: int
    own_bytes: int
    positions: int = 0
    programs: dict[Hashable, Program] = field(default_factory=dict)
    rules: dict[str | None, VariableRules] = field(default_factory=dict)

    @property
    def size(self) -> int:
        """The bytes that it takes in memory with its programs."""
        return self.own_bytes + self.positions * _POSITION_BYTES

    def add(self, key: Hashable, program: Program) -> None:
        """Keep a program; of too many, or too large ones, the oldest go."""
        self.programs[key] = program
        self.positions += program.positions
        while len(self.programs) > _MAX_PROGRAMS or (len(self.programs) > 1 and self.size > _MAX_DOCUMENT_BYTES):
            oldest = next(iter(self.programs))
            self.positions -= self.programs.pop(oldest).positions

    def operation(self, name: str | None) -> OperationDefinitionNode:
        """The operation to run; a document with several needs a name. Raises InvalidDocumentError."""
        operations = [node for node in self.node.definitions if isinstance(node, OperationDefinitionNode)]
        if not operations:
            raise InvalidDocumentError("The document holds no operation")
        if name is None and len(operations) > 1:
            raise InvalidDocumentError("The document holds several operations; say in operationName which one to run")
        for operation in operations:
            if name is None or (operation.name and operation.name.value == name):
                return operation
        raise InvalidDocumentError("The document holds no operation of the name in operationName")


def digest_of(text: str) -> str:
    """The SHA-256 of a document in hexadecimal, which stands for it in logs, since its text may hold personal data."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


class _ByDigest(LRUCache[str, Document]):
    """Documents of at most so many bytes; what goes is no longer charged to the budget."""

    def __init__(self, budget: MemoryBudget | None) -> None:
        super().__init__(_MAX_BYTES, getsizeof=attrgetter("size"))
        self._budget = budget

    def __delitem__(self, digest: str) -> None:
        document = self[digest]
        super().__delitem__(digest)
        if self._budget is not None:
            self._budget.drop(document)


class Documents:
    """Parses, validates and compiles documents, and caches them within a budget; without one it caches none.

    They take at most 16 MiB of it.
    """

    def __init__(
        self,
        schema: GraphQLSchema,
        compiler: CompilerConfig,
        limits: DocumentLimits | None = None,
        *,
        refuse_name: Callable[[str], str | None] = lambda _: None,
        refuse_literal: RefuseLiteral | None = None,
        introspection: bool = False,
        budget: MemoryBudget | None = None,
    ) -> None:
        self._schema = schema
        self._compiler = compiler
        self._limits = limits or DocumentLimits()
        self._refuse_name = refuse_name
        self._refuse_literal = refuse_literal
        self._introspection = introspection
        self._budget = budget
        self._cache = _ByDigest(budget)
        self._classes_before = 0

    def read(self, text: str) -> Document:
        """The document of a text, with its validation errors.

        Raises GraphQLError for syntax, names and literals that are refused, LimitExceededError, and
        InvalidDocumentError where the text nests too deeply.
        """
        digest = digest_of(text)
        found = self._cache.get(digest)
        if found is not None:
            if self._budget is not None:
                self._budget.touch(found)
            return found
        try:
            found = self._parsed(digest, text)
        except RecursionError:
            raise InvalidDocumentError("The document is nested too deeply") from None
        if len(text) <= _MAX_CACHED_CHARACTERS:
            self._keep(found)
        return found

    def _parsed(self, digest: str, text: str) -> Document:
        self._collect_classes()
        node = parse_document(text, self._limits, self._refuse_name)
        if self._refuse_literal is not None:
            check_literals(node, self._refuse_literal)
        check_operations(node, self._limits, introspection=self._introspection)
        errors = validated(self._schema, node, hide_suggestions=not self._introspection)
        _drop_frames(errors)
        fragments = {each.name.value: each for each in node.definitions if isinstance(each, FragmentDefinitionNode)}
        size = _DOCUMENT_BYTES + 2 * getsizeof(text)
        size += _TOKEN_BYTES * (node.token_count or 0) + _ERROR_BYTES * len(errors)
        return Document(digest, node, errors, fragments, _directive_variables(node), len(text), size)

    def variables(
        self, document: Document, operation: OperationDefinitionNode, inputs: Mapping[str, Any]
    ) -> VariableValues | list[GraphQLError]:
        """The coerced variables of a valid operation, or their errors."""
        name = operation.name.value if operation.name else None
        rules = document.rules.get(name)
        if rules is None:
            rules = document.rules[name] = VariableRules(self._schema, operation)
        return rules.values(inputs, MAX_ERRORS, hide_suggestions=not self._introspection)

    def program(self, document: Document, operation: OperationDefinitionNode, variables: VariableValues) -> Program:
        """A valid operation, compiled for these variables.

        Raises GraphQLError for wrong arguments of directives, and InvalidDocumentError where it nests too deeply.
        """
        names: Sequence[str] = ()
        setting: tuple[Any, ...] = ()
        if document.directive_variables:
            names = [name for name in document.directive_variables if name in variables.sources]
            setting = tuple(variables.coerced.get(name, Undefined) for name in names)
        key = (operation.name.value if operation.name else None, setting)
        program = document.programs.get(key)
        if program is None:
            # The program keeps them, and other variables may hold what is personal.
            kept = VariableValues(
                {name: variables.sources[name] for name in names},
                {name: variables.coerced[name] for name in names if name in variables.coerced},
            )
            try:
                program = compile_operation(self._schema, operation, document.fragments, kept, self._compiler)
            except RecursionError:
                raise InvalidDocumentError("The document is nested too deeply") from None
            self._add(document, key, program)
        return program

    def _add(self, document: Document, key: Hashable, program: Program) -> None:
        document.add(key, program)
        if self._cache.get(document.digest) is document:
            self._keep(document)

    def _keep(self, document: Document) -> None:
        """Cache a document, or count anew what it takes; one that is too large is used for its request alone."""
        if self._budget is None:
            return
        evict = partial(self._cache.pop, document.digest, None)
        evict()
        size = document.size
        if size <= _MAX_DOCUMENT_BYTES and self._budget.keep(document, size, evict):
            self._cache[document.digest] = document

    def _collect_classes(self) -> None:
        """Collect garbage when many classes were made for rows, most of which may belong to evicted documents."""
        made = self._compiler.row_classes.made
        if made - self._classes_before > _MAX_UNCOLLECTED_CLASSES:
            self._classes_before = made
            gc.collect()


def _drop_frames(errors: Sequence[GraphQLError]) -> None:
    """Free the frames of the validation, which errors of wrong values hold as long as they are cached themselves."""
    raised: list[BaseException | None] = [*errors]
    while raised:
        error = raised.pop()
        if error is not None and error.__traceback__ is not None:
            error.__traceback__ = None
            raised += [error.__context__, getattr(error, "original_error", None)]


def _directive_variables(document: DocumentNode) -> list[str]:
    nodes: list[Any] = [each for each in document.definitions if isinstance(each, ExecutableDefinitionNode)]
    nodes += [selection for each in nodes for selection, _ in walk(each.selection_set)]
    directives = chain.from_iterable(node.directives or () for node in nodes)
    values = [argument.value for directive in directives for argument in directive.arguments or ()]
    return sorted({value.name.value for value in values if isinstance(value, VariableNode)})
