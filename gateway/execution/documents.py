"""Documents that were parsed and validated before."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from graphql import DocumentNode, GraphQLError, GraphQLSchema, parse, validate

# A parsed document takes some forty times the memory of its text.
_MOST_CHARACTERS = 256 * 1024
_LONGEST_KEPT = 16 * 1024


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed document and what is wrong with it."""

    node: DocumentNode
    errors: Sequence[GraphQLError]


class Documents:
    """Parses and validates; keeps what it found, least recently used first to go, within a bound of text."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, Document] = OrderedDict()
        self._characters = 0

    def read(self, text: str) -> Document:
        """The document of a text. Raises GraphQLError for broken syntax, RecursionError for endless nesting."""
        found = self._kept.get(text)
        if found is not None:
            self._kept.move_to_end(text)
            return found
        node = parse(text)
        found = Document(node, validate(self._schema, node))
        if len(text) <= _LONGEST_KEPT:
            self._keep(text, found)
        return found

    def _keep(self, text: str, document: Document) -> None:
        self._kept[text] = document
        self._characters += len(text)
        while self._characters > _MOST_CHARACTERS:
            oldest, _ = self._kept.popitem(last=False)
            self._characters -= len(oldest)
