"""Writers of lists: item by item, or as rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

from graphql import FieldNode, GraphQLError
from graphql.pyutils import is_iterable

from gateway.engine.budget import LIST_WORK, OBJECT_WORK, ROW_WORK
from gateway.engine.errors import LimitExceededError
from gateway.engine.executor import Execution, Write
from gateway.engine.lazy_list import LazyObjectList, MixedObjectList, ObjectList
from gateway.engine.paths import ItemGroups, ItemIndexes, ListCells, NullPropagation, Output, Path
from gateway.engine.rows import SHORT, Column, Projection, RowClasses, Rows, cached, encoded_at_once, encoded_in_steps

# An isinstance of LazyObjectList, whose base is abstract, takes ten times as long as a look at the type.
_SEQUENCES = (list, tuple, LazyObjectList)
_LAZY = frozenset({LazyObjectList, MixedObjectList})
# The names of a list's translations, and of what it computes.
_Shape: TypeAlias = tuple[tuple[str, ...], tuple[str, ...]]
_EAGER: _Shape = ((), ())
_SIMPLE_LISTS = frozenset({list, tuple, ObjectList})
# Cells of fewer bytes are counted by the work that they take.
_SHORT_TEXT = 128
# The cells between two looks at the step's work.
_CELLS = 32


@dataclass(frozen=True, slots=True)
class ItemWork:
    """The work that an item takes; one that `is_shared` is written once, however often it stands in the answer."""

    work: float
    is_shared: bool

    def of(self, values: Sequence[Any]) -> float:
        """The work of a list."""
        if self.is_shared and type(values) not in _LAZY:
            return len(values) * OBJECT_WORK + len(set(map(id, values))) * self.work
        return len(values) * (OBJECT_WORK + self.work)


class ListWriter:
    """Writes a list item by item."""

    def __init__(
        self, each: Write, item_work: ItemWork, nodes: list[FieldNode], field_name: str, counted_type: str
    ) -> None:
        """`field_name` is that of the field with its type, `counted_type` the name of the items' type."""
        self.nodes = nodes
        self._each = each
        self._item_work = item_work
        self._field_name = field_name
        self._type_name = counted_type

    def __call__(self, values: Any, output: Output, execution: Execution, path: Path) -> None:
        """Write a list. Raises NullPropagation, LimitExceededError, and GraphQLError for what is no list."""
        budget = execution.budget
        if not issubclass(type(values), _SEQUENCES):
            if not is_iterable(values):
                raise GraphQLError(f"Expected Iterable, but did not find one for field '{self._field_name}'.")
            values = self._taken(values, execution)
        budget.spend(LIST_WORK + self._item_work.of(values))
        if self._type_name == budget.counted_type:
            budget.check_items(len(values))
            output.append(len(values))
        if values:
            output.append(b"[")
            self._write_items(enumerate(values), output, execution, path)
        else:
            output.append(b"[]")

    def _write_items(self, items: Iterator[tuple[int, Any]], output: Output, execution: Execution, path: Path) -> None:
        """Write items until the step is over, and leave the others to a later one."""
        each, budget, work = self._each, execution.budget, OBJECT_WORK + self._item_work.work
        for index, value in items:
            if index:
                output.append(b",")
            budget.step -= work
            each(value, output, execution, (path, index))
            if budget.step <= 0:
                # Lists around this one leave theirs too, behind these.
                rest: Output = []
                output.append(rest)
                execution.defer(path, self.nodes, partial(self._write_items, items, rest, execution, path))
                return
        output.append(b"]")

    def _taken(self, values: Any, execution: Execution) -> list[Any]:
        """The items of an iterator, each of which is counted before the next is asked for."""
        taken = []
        for value in values:
            execution.budget.spend_now(OBJECT_WORK)
            taken.append(value)
        return taken


class RowsWriter:
    """Writes a list of objects whose fields are all columns; `writers` are those of resolved ones, by key."""

    def __init__(
        self,
        type_name: str,
        origin: type,
        columns: Sequence[Column],
        writers: Mapping[str, tuple[Write, float, Callable[[Any], bytes] | None]],
        *,
        item_by_item: ListWriter,
        classes: RowClasses,
    ) -> None:
        """A writer comes with the work that a cell takes, and with what gives its text from the object alone, if so."""
        self._nodes = item_by_item.nodes
        self._type_name = type_name
        self._origin = origin
        self._columns = columns
        self._resolved = [(each, each.reader(), *writers[each.key]) for each in columns if each.is_resolved]
        self._item_by_item = item_by_item
        self._classes = classes
        self._projections: dict[_Shape, Projection] = {}

    def write_simply(self, values: Any, output: Output, execution: Execution) -> bool:
        """Write a short list without resolved columns at once; False, and nothing written, where it is another."""
        kind = type(values)
        is_lazy = kind is LazyObjectList
        if self._resolved or not (is_lazy or kind in _SIMPLE_LISTS):
            return False
        number = len(values.items if is_lazy else values)
        if number > SHORT:
            return False
        found = self._projection(values if is_lazy else None)
        text = cached(found, values)
        work = LIST_WORK
        if text is None:
            if not (is_lazy or {self._origin}.issuperset(map(type, values))):
                return False
            try:
                text = encoded_at_once(found, values)
            except Exception:  # noqa: BLE001 # whatever it is, writing the items finds out which of them fail
                return False
            work += number * found.row_work
        budget = execution.budget
        budget.spend_now(work)
        if self._type_name == budget.counted_type:
            budget.check_items(number)
            output.append(number)
        output.append(text)
        budget.write(len(text))
        return True

    def _projection(self, lazy: LazyObjectList[Any, Any] | None) -> Projection:
        shape = _EAGER if lazy is None else (tuple(lazy.translations), tuple(lazy.computed))
        found = self._projections.get(shape)
        if found is None:
            found = Projection(self._type_name, self._columns, *shape, self._classes)
            self._projections[shape] = found
        return found

    def __call__(self, values: Any, output: Output, execution: Execution, path: Path) -> None:
        """Write a list, or leave its rows to be encoded later. Raises NullPropagation and LimitExceededError."""
        if self.write_simply(values, output, execution):
            return
        is_lazy = type(values) is LazyObjectList
        is_known = is_lazy or (isinstance(values, (list, tuple)) and {self._origin}.issuperset(map(type, values)))
        if not is_known or not (self._resolved or len(values) > SHORT):
            self._item_by_item(values, output, execution, path)
            return
        budget = execution.budget
        found = self._projection(values if is_lazy else None)
        budget.step -= LIST_WORK
        budget.spend(LIST_WORK + len(values) * found.row_work)
        counted = 0
        if self._type_name == budget.counted_type:
            counted = len(values)
            budget.check_items(counted)
        cells = ListCells(path)
        outputs: dict[str, Mapping[Any, Output | bytes]] = {}
        rows = Rows(found, values, outputs, counted, partial(self._write_anew, cells.columns, execution, path))
        output.append(rows)
        if self._resolved:
            execution.follow(path, self._nodes, self._begin_cells(rows, outputs, cells, execution))
        elif (text := cached(found, values)) is not None:
            rows.text = text
        else:
            execution.follow(path, self._nodes, self._encode(rows, execution))

    def _encode(self, rows: Rows, execution: Execution) -> Iterator[None]:
        try:
            text = yield from encoded_in_steps(rows, {}, execution.budget)
            execution.budget.write(len(text))
        except (LimitExceededError, MemoryError):
            # To write the items once more, one after the other, would take more memory.
            raise
        except Exception:  # noqa: BLE001 # whatever else it is, writing the items finds out which of them fail
            rows.write_anew(rows)

    def _begin_cells(
        self, rows: Rows, outputs: dict[str, Mapping[Any, Output | bytes]], cells: ListCells, execution: Execution
    ) -> Iterator[None]:
        """Run the resolver of each column once for each combination of values. Raises NullPropagation."""
        objects, items = rows.objects, rows.items
        view = objects.view if type(objects) is LazyObjectList else None
        examples: dict[tuple[str, ...], dict[Any, Any]] = {}
        indexes: dict[tuple[str, ...], ItemIndexes] = {}
        for column, read, write, work, text_of in self._resolved:
            if column.attributes not in examples:
                indexes[column.attributes] = ItemIndexes(partial(map, read, items))
                found = _examples_or_none(read, items)
                if found is None:
                    rows.write_anew(rows)
                    return
                examples[column.attributes] = found
                execution.budget.step -= len(items) * ROW_WORK
                yield
            groups = ItemGroups(indexes[column.attributes])
            cells.columns.append(groups)
            # A cell whose text is written at once takes neither an object nor an execution of its field.
            direct_work = work if text_of is None else min(work, OBJECT_WORK)
            execution.budget.spend(len(examples[column.attributes]) * direct_work)
            by_value: dict[Any, Output | bytes] = {}
            outputs[column.key] = by_value
            for number, (value, example) in enumerate(examples[column.attributes].items(), start=1):
                source = example if view is None else view(example)
                text = None if text_of is None else _text_or_none(text_of, source)
                if text is not None:
                    by_value[value] = text
                    if len(text) > _SHORT_TEXT:
                        execution.budget.write(len(text))
                else:
                    execution.budget.spend(work - direct_work)
                    placeholder: Output = []
                    by_value[value] = placeholder
                    try:
                        write(source, placeholder, execution, (cells, (groups, value)))
                    except NullPropagation as propagation:
                        if propagation.boundary is not cells:
                            raise
                if number % _CELLS == 0:
                    execution.budget.step -= _CELLS * work
                    yield
            execution.budget.step -= len(by_value) % _CELLS * work
        cells.finish(execution.failures)

    def _write_anew(self, columns: Sequence[ItemGroups], execution: Execution, path: Path, rows: Rows) -> None:
        for groups in columns:
            # Their failures are found once more.
            groups.end = 0
        rows.written_anew = []
        self._item_by_item(rows.objects, rows.written_anew, execution, path)


def nullable_rows(rows: RowsWriter, otherwise: Write) -> Write:
    """The writer of a list that may be null: by the shortest way, or as others are."""

    def write(values: Any, output: Output, execution: Execution, path: Path) -> None:
        if not rows.write_simply(values, output, execution):
            otherwise(values, output, execution, path)

    return write


def _examples_or_none(read: Callable[[Any], Any], items: Sequence[Any]) -> dict[Any, Any] | None:
    """An item of each value; None where an attribute is missing or no key: its item fails, or nothing does."""
    try:
        return dict(zip(map(read, items), items, strict=True))
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 # whatever else it is, writing the items finds out which of them fail
        return None


def _text_or_none(text_of: Callable[[Any], bytes], source: Any) -> bytes | None:
    """The JSON of a cell; None where its writer has to find out what is wrong with it."""
    try:
        return text_of(source)
    except Exception:  # noqa: BLE001 # whatever it is, the writer meets it again
        return None
