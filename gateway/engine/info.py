"""What a resolver is told of the field that it resolves."""

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import strawberry
from graphql import GraphQLResolveInfo

ContextT = TypeVar("ContextT")
RootT = TypeVar("RootT")


@dataclass
class Info(strawberry.Info[ContextT, RootT], Generic[ContextT, RootT]):
    """Strawberry's info, with graphql-core's own for resolvers that look ahead in the document.

    `memo` is kept for a place of a document as long as what was compiled of it; an uncompiled place gets an empty one.
    """

    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> GraphQLResolveInfo[ContextT]:
        """The document, its fragments and variables, and where in it the resolver stands."""
        return self._raw_info
