"""Long lists of small objects, kept as they came and viewed only where one is looked at; and bytes made of them."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast, overload


class FragmentCache:
    """What answers held of a list before, by how it was selected; `budget` bounds it in bytes."""

    __slots__ = ("_budget", "_kept", "_left")

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._left = budget
        self._kept: dict[Hashable, bytes] = {}

    def get(self, selected: Hashable) -> bytes | None:
        """The bytes of a selection, where they are kept."""
        return self._kept.get(selected)

    def keep(self, selected: Hashable, made: bytes) -> None:
        """Keep bytes while there is budget; where there is none, what was kept before makes way."""
        if len(made) > self._budget:
            return
        if len(made) > self._left:
            self._kept.clear()
            self._left = self._budget
        self._kept[selected] = made
        self._left -= len(made)


V = TypeVar("V")
I = TypeVar("I")  # noqa: E741 # the item that a view is made of

DEPENDS_ONLY_ON = "depends_only_on"
"""Metadata of a field with a resolver: the attributes, of view and item alike, on which its value depends alone.

Within one list the resolver then runs once for each combination of their values, not once an object.
"""


class LazyObjectList(Sequence[V], Generic[I, V]):
    """A sequence of views over plain items.

    A view's plain attribute is the item's attribute of that name, sent through the translation of that name where
    there is one. So whoever needs attributes alone can do without the views.
    """

    __slots__ = ("_representative", "_view", "fragments", "items", "part", "translations")

    def __init__(
        self,
        items: Sequence[I],
        view: Callable[[I], V],
        translations: Mapping[str, Mapping[Any, Any]],
        fragments: FragmentCache | None = None,
        part: Hashable = (),
        *,
        representative: Callable[[I], V] | None = None,
    ) -> None:
        """`translations` are by attribute, and know every value that the items have there.

        `fragments` keeps bytes made of the list, or of the one that this is a part of. `representative` makes the view
        of an item that stands for all those which are the same for some field.
        """
        self.items = items
        self.translations = translations
        self.fragments = fragments
        self.part = part
        self._view = view
        self._representative = representative or view

    def view(self, item: I) -> V:
        """The view of an item, for a field whose value is written wherever it is the same (`DEPENDS_ONLY_ON`)."""
        return self._representative(item)

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


class ObjectList(list[V]):
    """A list that is viewed already, with a place for bytes made of it."""

    __slots__ = ("fragments", "part")

    def __init__(self, views: Iterable[V], fragments: FragmentCache | None = None) -> None:
        super().__init__(views)
        self.fragments = fragments
        self.part: Hashable = ()

    def view(self, item: V) -> V:
        """An item is its own view."""
        return item


def as_list(views: LazyObjectList[I, V]) -> list[V]:
    """The same, as the type that Strawberry takes for a list in a resolver's annotation."""
    return cast("list[V]", views)
