"""Executes a compiled operation: its writers append the JSON of the answer to an output, field by field.

Where a resolver has to wait, a placeholder, which is an output too, keeps the place of its value; the resolver goes
on as soon as the future that it awaits is done. So a field costs no task, and a value no visit. A field that fails is
null, or the nearest value around it that may be null is.

Work is counted before it is done. After some of it the execution pauses, so that a large answer stops nobody else.

Resolvers have no task of their own: the current task is the request's. So they may await whatever they like, but
`asyncio.timeout` and `TaskGroup`, which cancel the current task, belong into tasks that they start.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, NoReturn, TypeAlias, TypeVar

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
)
from graphql.execution.values import VariableValues
from graphql.pyutils import Path as CorePath
from graphql.pyutils import is_awaitable
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.types.field import StrawberryField

from gateway.engine.arguments import Arguments
from gateway.engine.assembly import Assembly
from gateway.engine.budget import Budget, ExecutionLimits, Turns
from gateway.engine.errors import LimitExceededError
from gateway.engine.paths import (
    Failure,
    Failures,
    NullableValue,
    NullPropagation,
    Output,
    Path,
    ResponseKey,
    SharedObject,
    boundary_of,
    is_given_up,
)

ContextT = TypeVar("ContextT")
RootT = TypeVar("RootT")


@dataclass
class Info(strawberry.Info[ContextT, RootT], Generic[ContextT, RootT]):
    """Strawberry's info for resolvers, with graphql-core's own for those that look ahead in the document.

    `memo` belongs to a field of a document and lives as long as its compiled program.
    """

    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> GraphQLResolveInfo[ContextT]:
        """The document, its fragments and variables, and the nodes of the field that is resolved."""
        return self._raw_info


Write: TypeAlias = Callable[[Any, Output, "Execution", Path], None]


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A field or an item of a list, where it stands in a document; `write` writes there what it is."""

    nodes: list[FieldNode]
    write: Write
    is_nullable: bool

    def fail(self, error: Exception, output: Output, execution: "Execution", path: Path) -> None:
        """Write null for a value that failed, or raise NullPropagation where it may not be null."""
        execution.fail(error, self.nodes, path, output if self.is_nullable else None)


@dataclass(frozen=True, slots=True, eq=False)
class Position(Value):
    """A field with a resolver, where it stands in a document; `key` is its name or alias in the answer."""

    key: ResponseKey
    definition: GraphQLField
    parent_type: GraphQLObjectType
    declared: StrawberryField | None
    arguments: Arguments
    memo: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A compiled operation: each root field writes its label and its value from the root value None.

    The root fields of a mutation, which `is_serial`, are written one after the other.
    """

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    root_fields: Sequence[Write]
    work: float
    is_serial: bool
    count_positions: Callable[[], int]

    @property
    def positions(self) -> int:
        """How many fields were compiled so far; its memory grows with them."""
        return self.count_positions()


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """What all executions of an engine share."""

    info_class: type[Info[Any, None]]
    expected_errors: type[Exception]
    limits: ExecutionLimits
    before_root_field: Callable[[Any], None] = lambda _: None


# Part of graphql-core's info.
_HELPERS = GraphQLResolveInfoHelpers(gather=lambda values: asyncio.gather(*values), track=lambda _: None)

_Suspended: TypeAlias = "tuple[Value, Path, Output, asyncio.Future[Any] | None]"
_Job: TypeAlias = "tuple[Path, list[FieldNode], Callable[[], None]]"


class Execution:
    """One execution of a program: `run` may be awaited once; `failures` are complete after it, until `close`."""

    def __init__(
        self,
        program: Program,
        context: Any,
        variables: VariableValues,
        config: ExecutionConfig,
        turns: Turns,
    ) -> None:
        self._context = context
        self.config = config
        self._program = program
        self._variables = variables
        self._turns = turns
        self._arguments: dict[Position, dict[str, Any]] = {}
        self._infos: dict[Position, Info[Any, None]] = {}
        self._suspended: dict[Coroutine[Any, Any, Any], _Suspended] = {}
        self._ready: deque[Coroutine[Any, Any, Any]] = deque()
        self._jobs, self._new_jobs = list[_Job](), list[_Job]()
        self._wakeup: asyncio.Future[None] | None = None
        self.shared: dict[tuple[int, Write], SharedObject] = {}
        self.budget = Budget(config.limits)
        self.failures = Failures()
        self._closings_before = 0

    async def run(self) -> list[bytes]:
        """The JSON of `data` in pieces. Raises LimitExceededError, and what a pause raises."""
        output: Output = []
        root = NullableValue(None, output)
        try:
            await self._write_root(output, root)
            return await self._assembled(output)
        except asyncio.CancelledError:
            # What the suspended resolvers await is cancelled, as a cancelled task does.
            for *_, future in self._suspended.values():
                if future is not None:
                    future.cancel()
            raise
        finally:
            self._abandon(list(self._suspended))

    def close(self) -> None:
        """Drop what refers to this execution and to its boundaries: such cycles would wait for the collector."""
        for shared in self.shared.values():
            shared.places.clear()
        self.shared.clear()
        self._jobs.clear()

    async def _write_root(self, output: Output, root: NullableValue) -> None:
        self.budget.spend(self._program.work)
        output.append(b"{")
        for write in self._program.root_fields:
            if root.closed_at is not None:
                return
            with suppress(NullPropagation):
                write(None, output, self, root)
            if self._program.is_serial:
                await self._drain()
        await self._drain()
        if root.closed_at is None:
            output.append(b"}")

    async def _assembled(self, output: Output) -> list[bytes]:
        while True:
            assembly = Assembly(self.budget)
            for _ in assembly.pieces(output):
                await self._rest()
            if not assembly.unexpected:
                return assembly.made
            for rows in assembly.unexpected:
                with suppress(NullPropagation):
                    rows.write_anew(rows)
            await self._drain()

    async def _drain(self) -> None:
        """Go on until all is written: resolvers that waited longest first, then lists, from the inside out."""
        while True:
            if self._new_jobs:
                # Before the others: the first of them stands furthest inside.
                self._jobs.extend(reversed(self._new_jobs))
                self._new_jobs.clear()
            if self._ready:
                coroutine = self._ready.popleft()
                suspended = self._suspended.pop(coroutine, None)
                if suspended is None:
                    continue
                self._go_on(coroutine, suspended)
            elif self._jobs:
                self._take(*self._jobs.pop())
            elif self._suspended:
                if self.failures.closings > self._closings_before:
                    self._abandon_given_up()
                    continue
                self._turns.wait()
                self._wakeup = asyncio.get_running_loop().create_future()
                await self._wakeup
                self._wakeup = None
                self.budget.begin_step()
            else:
                return
            if self.budget.step <= 0:
                await self._rest()

    def _go_on(self, coroutine: Coroutine[Any, Any, Any], suspended: _Suspended) -> None:
        awaiting, path, placeholder, _ = suspended
        if self.failures.closings and is_given_up(path):
            self._abandon((coroutine,))
            return
        try:  # noqa: SIM105 # suppress takes as long as much of what is done here
            self.advance(coroutine, awaiting, path, placeholder)
        except NullPropagation:
            # The boundary was told of a failure by whatever raised it.
            pass

    def _abandon_given_up(self) -> None:
        """Close the resolvers whose values nobody wants since values around them became null."""
        self._closings_before = self.failures.closings
        known: dict[SharedObject, bool] = {}
        self._abandon([each for each, (_, path, *_) in self._suspended.items() if is_given_up(path, known)])

    def _take(self, path: Path, nodes: list[FieldNode], job: Callable[[], None]) -> None:
        """Do a job, unless the value that it belongs to was given up."""
        if self.failures.closings and is_given_up(path):
            return
        try:
            job()
        except NullPropagation:
            return
        except LimitExceededError:
            raise
        except Exception as error:  # noqa: BLE001 # whatever it is, the value failed
            with suppress(NullPropagation):
                self.propagate(error, nodes, path)

    async def _rest(self) -> None:
        await self._turns.pause()
        self.budget.begin_step()

    def defer(self, path: Path, nodes: list[FieldNode], job: Callable[[], None]) -> None:
        """Do a job in a later step, unless the value at `path` is given up before."""
        self._new_jobs.append((path, nodes, job))

    def follow(self, path: Path, nodes: list[FieldNode], steps: Iterator[None]) -> None:
        """Write a value in steps: go on until the step is over, and leave the rest to later ones."""
        for _ in steps:
            if self.budget.step <= 0:
                self.defer(path, nodes, partial(self.follow, path, nodes, steps))
                return

    def advance(self, coroutine: Coroutine[Any, Any, Any], awaiting: Value, path: Path, output: Output) -> None:
        """Run a resolver until it waits or returns; then write its value, or leave a placeholder for it.

        Raises NullPropagation.
        """
        try:
            awaited = coroutine.send(None)
        except StopIteration as returned:
            value = returned.value
        except asyncio.CancelledError:
            # A future that the resolver awaited was cancelled; the task that executes the operation was not.
            awaiting.fail(RuntimeError("what a resolver awaited was cancelled"), output, self, path)
            return
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            awaiting.fail(error, output, self, path)
            return
        else:
            self._suspend(coroutine, awaited, awaiting, path, output)
            return
        # Outside of the except clause: an error raised below would keep StopIteration as its context.
        awaiting.write(value, output, self, path)

    def _suspend(
        self, coroutine: Coroutine[Any, Any, Any], awaited: Any, awaiting: Value, path: Path, output: Output
    ) -> None:
        future = awaited if asyncio.isfuture(awaited) else None
        if future is None and awaited is not None:
            with suppress(Exception):  # the field fails either way
                coroutine.close()
            error = TypeError(f"a resolver awaits what asyncio does not know, of type {type(awaited).__name__}")
            awaiting.fail(error, output, self, path)
            return
        placeholder: Output = []
        output.append(placeholder)
        self._suspended[coroutine] = awaiting, path, placeholder, future
        if future is not None:
            # What a task does with a future that its coroutine yields: another coroutine can await it meanwhile.
            future._asyncio_future_blocking = False  # noqa: SLF001 # asyncio's contract with what runs coroutines
            future.add_done_callback(partial(self._resume, coroutine))
        else:
            asyncio.get_running_loop().call_soon(self._resume, coroutine)

    def _resume(self, coroutine: Coroutine[Any, Any, Any], done: asyncio.Future[Any] | None = None) -> None:
        if coroutine in self._suspended:
            self._ready.append(coroutine)
            if self._wakeup is not None and not self._wakeup.done():
                self._wakeup.set_result(None)
        elif done is not None and not done.cancelled():
            # Nobody waits for it any more, so asyncio must not log its exception as never retrieved.
            done.exception()

    def _abandon(self, coroutines: Iterable[Coroutine[Any, Any, Any]]) -> None:
        """Close resolvers whose values nobody wants; their futures go on, since other resolvers may await them."""
        for coroutine in coroutines:
            self._suspended.pop(coroutine, None)
            # A resolver that refuses to be closed must not keep the others open.
            with suppress(Exception):
                coroutine.close()

    def fail(self, error: Exception, nodes: list[FieldNode], path: Path, output: Output | None) -> None:
        """Write null to the output of a value that failed, or raise NullPropagation where it has none."""
        if isinstance(error, self.config.expected_errors):
            # Its frames would keep the request alive in a cycle; the log needs those of a fault.
            error.__traceback__ = error.__context__ = None
        failure = Failure(error, nodes, path)
        if output is None:
            self.failures.propagate(failure)
        self.failures.record(failure)
        output.append(b"null")

    def propagate(self, error: Exception, nodes: list[FieldNode], path: Path) -> NoReturn:
        """Make the nearest value null that may be. Raises NullPropagation."""
        if isinstance(error, LimitExceededError):
            raise error
        self.fail(error, nodes, path, None)
        raise NullPropagation(boundary_of(path))

    def arguments(self, position: Position) -> Mapping[str, Any]:
        """The keyword arguments of a resolver. Raises GraphQLError."""
        found = self._arguments.get(position)
        if found is None:
            found = self._arguments[position] = position.arguments.values(self._variables)
        arguments = position.arguments
        return found if arguments.are_reusable else arguments.fresh(found, self.info(position))

    def info(self, position: Position) -> Info[Any, None]:
        """The info of a resolver; its path names the field alone."""
        found = self._infos.get(position)
        if found is None:
            raw = GraphQLResolveInfo[Any](
                position.nodes[0].name.value,
                position.nodes,
                position.definition.type,
                position.parent_type,
                CorePath(None, position.key, position.parent_type.name),
                self._program.schema,
                self._program.fragments,
                None,
                self._program.operation,
                self._variables,
                self._context,
                is_awaitable,
                None,
                _HELPERS,
            )
            found = self._infos[position] = self.config.info_class(
                _raw_info=raw,
                _field=position.declared,  # type: ignore[arg-type] # None for fields of graphql-core's own
                memo=position.memo,
            )
        return found
