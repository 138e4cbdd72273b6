"""Long lists of small objects, kept as they came and viewed only where somebody looks at one."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, overload

V = TypeVar("V")
I = TypeVar("I")  # noqa: E741 # the item that a view is made of


class CompactList(Sequence[V], Generic[I, V]):
    """A sequence of views over plain items.

    A view's plain attribute is the item's attribute of that name, sent through the translation of that name where
    there is one. So whoever needs attributes alone can do without the views.
    """

    __slots__ = ("_view", "items", "translations")

    def __init__(
        self, items: Sequence[I], view: Callable[[I], V], translations: Mapping[str, Mapping[Any, Any]]
    ) -> None:
        """`translations` are by attribute, and know every value that the items have there."""
        self.items = items
        self.translations = translations
        self._view = view

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


def as_list(views: CompactList[I, V]) -> list[V]:
    """The same, as the type that Strawberry takes for a list in a resolver's annotation."""
    return cast("list[V]", views)
