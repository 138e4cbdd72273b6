"""Bytes that were made of a list, kept as long as the list and within a bound."""

from collections.abc import Hashable


class Rendered:
    """What answers held of a list before, by how it was selected; `room` bounds it in bytes."""

    __slots__ = ("_kept", "_left", "_room")

    def __init__(self, room: int) -> None:
        self._room = room
        self._left = room
        self._kept: dict[Hashable, bytes] = {}

    def get(self, selected: Hashable) -> bytes | None:
        """The bytes of a selection, where they are kept."""
        return self._kept.get(selected)

    def keep(self, selected: Hashable, made: bytes) -> None:
        """Keep bytes while there is room; where there is none, what was kept before makes way."""
        if len(made) > self._room:
            return
        if len(made) > self._left:
            self._kept.clear()
            self._left = self._room
        self._kept[selected] = made
        self._left -= len(made)
