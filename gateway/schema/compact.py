"""Long lists of small objects, kept as they came and viewed only where somebody looks at one."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, overload

from gateway.domain.rendered import Rendered

V = TypeVar("V")
I = TypeVar("I")  # noqa: E741 # the item that a view is made of

SAME_FOR = "same_for"
"""Metadata of a field with a resolver: the attributes, of view and item alike, on which its value depends alone.

Within one list the resolver then runs once for each combination of their values, not once an object.
"""


class CompactList(Sequence[V], Generic[I, V]):
    """A sequence of views over plain items.

    A view's plain attribute is the item's attribute of that name, sent through the translation of that name where
    there is one. So whoever needs attributes alone can do without the views.
    """

    __slots__ = ("_stand_in", "_view", "items", "part", "rendered", "translations")

    def __init__(
        self,
        items: Sequence[I],
        view: Callable[[I], V],
        translations: Mapping[str, Mapping[Any, Any]],
        rendered: Rendered | None = None,
        part: Hashable = (),
        *,
        stand_in: Callable[[I], V] | None = None,
    ) -> None:
        """`translations` are by attribute, and know every value that the items have there.

        `rendered` keeps bytes made of the list, or of the one that this is a part of. `stand_in` makes the view
        of an item that stands for all those which are the same for some field.
        """
        self.items = items
        self.translations = translations
        self.rendered = rendered
        self.part = part
        self._view = view
        self._stand_in = stand_in or view

    def view(self, item: I) -> V:
        """The view of an item, for a field whose value is written wherever it is the same (`SAME_FOR`)."""
        return self._stand_in(item)

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> list[V]: ...
    def __getitem__(self, index: int | slice) -> V | list[V]:
        """The view of an item, or those of a stretch of them."""
        if isinstance(index, slice):
            return [self._view(item) for item in self.items[index]]
        return self._view(self.items[index])

    def __iter__(self) -> Iterator[V]:
        return map(self._view, self.items)


class ViewList(list[V]):
    """A list that is viewed already, with a place for bytes made of it."""

    __slots__ = ("part", "rendered")

    def __init__(self, views: Iterable[V], rendered: Rendered | None = None) -> None:
        super().__init__(views)
        self.rendered = rendered
        self.part: Hashable = ()

    def view(self, item: V) -> V:
        """An item is its own view."""
        return item


def as_list(views: CompactList[I, V]) -> list[V]:
    """The same, as the type that Strawberry takes for a list in a resolver's annotation."""
    return cast("list[V]", views)
