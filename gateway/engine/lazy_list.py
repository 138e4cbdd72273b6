"""Lists that resolvers may return for speed: views made when one is looked at, and JSON that is encoded once."""

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from sys import getsizeof
from typing import Any, Generic, TypeVar, cast, overload

# What an entry of the cache takes beside its key and the text.
_ENTRY_BYTES = 150
# An empty list is not worth an entry.
_LEAST_BYTES = 16


class FragmentCache:
    """The JSON of one list by what was selected of it, at most `budget` bytes with the keys."""

    __slots__ = ("_budget", "_fragments", "_left")

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._left = budget
        self._fragments: dict[Hashable, bytes] = {}

    def get(self, selected: Hashable) -> bytes | None:
        """The JSON of a selection, where it is cached."""
        return self._fragments.get(selected)

    def keep(self, selected: Hashable, fragment: bytes, key_bytes: int | None = None) -> None:
        """Cache the JSON of a selection; where the budget is spent, all others are dropped first.

        `key_bytes` is what `selected` takes in memory, where the caller knows.
        """
        if not _LEAST_BYTES <= len(fragment) <= self._budget:
            return
        size = _ENTRY_BYTES + getsizeof(fragment) + (bytes_of_key(selected) if key_bytes is None else key_bytes)
        if size > self._budget:
            return
        if size > self._left:
            self._fragments = {}
            self._left = self._budget
        self._fragments[selected] = fragment
        self._left -= size


def bytes_of_key(key: object) -> int:
    """What a key takes, with all that its tuples hold."""
    size = getsizeof(key)
    if type(key) is tuple:
        for each in key:
            size += bytes_of_key(each)
    return size


V = TypeVar("V")
I = TypeVar("I")  # noqa: E741 # the item that a view is made of

_NOTHING: Mapping[str, Any] = {}

DEPENDS_ONLY_ON = "depends_only_on"
"""Metadata of a field with a resolver: the attributes, of view and item alike, on which alone its value depends.

Within one list the resolver then runs once for each combination of their values, not once for each object.
"""


class LazyObjectList(Sequence[V], Generic[I, V]):
    """A sequence of views over plain items.

    An attribute of a view is what is computed of the item under that name, else the item's attribute of that name,
    looked up in the translation of that name where there is one. So attributes can be read without making the views.
    """

    __slots__ = ("computed", "fragments", "items", "part", "translations", "view")

    def __init__(
        self,
        items: Sequence[I],
        view: Callable[[I], V],
        translations: Mapping[str, Mapping[Any, Any]],
        fragments: FragmentCache | None = None,
        part: Hashable = (),
        *,
        computed: Mapping[str, Callable[[I], Any]] = _NOTHING,
    ) -> None:
        """`translations` are by attribute, and hold every value that the items have there.

        `computed` are by attribute too: each gives a text of an item, never None, in about a microsecond.
        `fragments` caches JSON of the list, or of a longer one of which this is the part `part`.
        """
        self.items = items
        self.translations = translations
        self.computed = computed
        self.fragments = fragments
        self.part = part
        self.view = view

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> V: ...
    @overload
    def __getitem__(self, index: slice) -> list[V]: ...
    def __getitem__(self, index: int | slice) -> V | list[V]:
        """The view of an item, or those of a slice."""
        if isinstance(index, slice):
            return [self.view(item) for item in self.items[index]]
        return self.view(self.items[index])

    def __iter__(self) -> Iterator[V]:
        return map(self.view, self.items)


class MixedObjectList(LazyObjectList[I, V]):
    """The same where items are of several kinds: they are written one by one.

    What a field `DEPENDS_ONLY_ON` holds within each kind, and not for the list.
    """

    __slots__ = ()


class ObjectList(list[V]):
    """A list of views that are made already, with a cache for its JSON."""

    __slots__ = ("fragments", "part")

    def __init__(self, views: Iterable[V], fragments: FragmentCache | None = None) -> None:
        super().__init__(views)
        self.fragments = fragments
        self.part: Hashable = ()


def as_list(views: LazyObjectList[I, V]) -> list[V]:
    """The same, typed as the `list` that Strawberry needs in a resolver's annotation."""
    return cast("list[V]", views)
