"""Writers of lists: item by item, or as rows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphql import FieldNode, GraphQLError
from graphql.pyutils import is_iterable

from gateway.engine.budget import CELL_WORK, LIST_WORK, OBJECT_WORK, ROW_WORK
from gateway.engine.errors import LimitExceededError
from gateway.engine.executor import Execution, Write
from gateway.engine.lazy_list import LazyObjectList
from gateway.engine.paths import ItemGroups, ItemIndexes, ListCells, NullPropagation, Output, Path
from gateway.engine.rows import SHORT, Column, Projection, Rows, cached, encoded_at_once, encoded_in_steps, projection

# An isinstance of LazyObjectList, whose base is abstract, takes ten times as long as a look at the type.
_SEQUENCES = (list, tuple, LazyObjectList)
# The cells between two looks at the step's work.
_CELLS = 32


@dataclass(frozen=True, slots=True)
class ItemWork:
    """The work that an item takes; one that `is_shared` is written once, however often it stands in the answer."""

    work: float
    is_shared: bool

    def of(self, values: Sequence[Any]) -> float:
        """The work of a list."""
        if self.is_shared and type(values) is not LazyObjectList:
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
        writers: Mapping[str, tuple[Write, float]],
        item_by_item: ListWriter,
    ) -> None:
        """A writer comes with the work that a cell takes."""
        self._nodes = item_by_item.nodes
        self._type_name = type_name
        self._origin = origin
        self._columns = columns
        self._resolved = [(each, each.reader(), *writers[each.key]) for each in columns if each.is_resolved]
        self._item_by_item = item_by_item
        self._row_work = ROW_WORK + CELL_WORK * len(columns)
        self._projections: dict[tuple[str, ...], Projection] = {}

    def __call__(self, values: Any, output: Output, execution: Execution, path: Path) -> None:
        """Write a list, or leave its rows to be encoded later. Raises NullPropagation and LimitExceededError."""
        translated: tuple[str, ...] = ()
        kind = type(values)
        if kind is LazyObjectList:
            translated = tuple(values.translations)
        elif not issubclass(kind, _SEQUENCES):
            self._item_by_item(values, output, execution, path)
            return
        found = self._projections.get(translated)
        if found is None:
            found = self._projections[translated] = projection(self._type_name, self._columns, translated)
        budget = execution.budget
        counted = 0
        if self._type_name == budget.counted_type:
            counted = len(values)
            budget.check_items(counted)
        text = None if self._resolved else cached(found, values)
        if text is not None:
            budget.spend_now(LIST_WORK)
            self._append(text, counted, output, execution)
            return
        if not (kind is LazyObjectList or {self._origin}.issuperset(map(type, values))):
            self._item_by_item(values, output, execution, path)
            return
        budget.step -= LIST_WORK
        budget.spend(LIST_WORK + len(values) * self._row_work)
        if self._resolved:
            cells = ListCells(path)
            outputs: dict[str, Mapping[Any, Output]] = {}
            rows = Rows(found, values, outputs, counted, partial(self._write_anew, cells.columns, execution, path))
            output.append(rows)
            execution.follow(path, self._nodes, self._begin_cells(rows, outputs, cells, execution))
        elif len(values) > SHORT:
            rows = Rows(found, values, {}, counted, partial(self._write_anew, (), execution, path))
            output.append(rows)
            execution.follow(path, self._nodes, self._encode(rows, execution))
        else:
            self._write_now(found, values, counted, output, execution, path)

    def _write_now(  # noqa: PLR0917 # what a writer gets, and what is known of the list
        self, found: Projection, values: Any, counted: int, output: Output, execution: Execution, path: Path
    ) -> None:
        """Encode a short list at once."""
        try:
            text = encoded_at_once(found, values)
        except Exception:  # noqa: BLE001 # whatever it is, writing the items finds out which of them fail
            self._item_by_item(values, output, execution, path)
            return
        execution.budget.step -= len(values) * self._row_work
        self._append(text, counted, output, execution)

    def _append(self, text: bytes, counted: int, output: Output, execution: Execution) -> None:
        if counted:
            output.append(counted)
        output.append(text)
        execution.budget.write(len(text))

    def _encode(self, rows: Rows, execution: Execution) -> Iterator[None]:
        try:
            yield from encoded_in_steps(rows, {}, execution.budget)
        except LimitExceededError:
            raise
        except Exception:  # noqa: BLE001 # whatever it is, writing the items finds out which of them fail
            rows.write_anew(rows)

    def _begin_cells(
        self, rows: Rows, outputs: dict[str, Mapping[Any, Output]], cells: ListCells, execution: Execution
    ) -> Iterator[None]:
        """Run the resolver of each column once for each combination of values. Raises NullPropagation."""
        objects, items = rows.objects, rows.items
        view = objects.view if type(objects) is LazyObjectList else None
        examples: dict[tuple[str, ...], dict[Any, Any]] = {}
        indexes: dict[tuple[str, ...], ItemIndexes] = {}
        for column, read, write, work in self._resolved:
            if column.attributes not in examples:
                indexes[column.attributes] = ItemIndexes(partial(map, read, items))
                try:
                    examples[column.attributes] = dict(zip(map(read, items), items, strict=True))
                except Exception:  # noqa: BLE001 # an attribute is missing or no key: its item fails, or nothing does
                    rows.write_anew(rows)
                    return
                execution.budget.step -= len(items) * ROW_WORK
                yield
            groups = ItemGroups(indexes[column.attributes])
            cells.columns.append(groups)
            execution.budget.spend(len(examples[column.attributes]) * work)
            by_value: dict[Any, Output] = {}
            outputs[column.key] = by_value
            for number, (value, example) in enumerate(examples[column.attributes].items(), start=1):
                placeholder = by_value[value] = []
                source = example if view is None else view(example)
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
