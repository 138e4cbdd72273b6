"""Executes a compiled operation: its writers append the JSON of the answer to an output, field by field.

Where a resolver has to wait, a placeholder, which is an output too, keeps the place of its value; the resolver goes
on as soon as the future that it awaits is done. So a field costs no task, and a value no visit. A field that fails and
may be null is null, and its error is recorded with its path. Anything else that is out of the ordinary, such as a null
where none may be, ends the execution: graphql-core's executor then answers, from the same loaders and so without
loading twice.

Resolvers have no task of their own: the current task is the request's. So they may await whatever they like, but
`asyncio.timeout` and `TaskGroup`, which cancel the current task, belong into tasks that they start.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeAlias, TypeVar

import strawberry
from graphql import (
    FieldNode,
    FragmentDefinitionNode,
    GraphQLError,
    GraphQLField,
    GraphQLObjectType,
    GraphQLResolveInfo,
    GraphQLSchema,
    OperationDefinitionNode,
    is_non_null_type,
)
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path as CorePath
from graphql.pyutils import is_awaitable
from graphql.type.definition import GraphQLResolveInfoHelpers
from strawberry.types.field import StrawberryField

from gateway.engine.errors import AnswerTooLargeError, FieldError, Path, UnsupportedError
from gateway.engine.output import Output, SizeBudget, pieces

ContextT = TypeVar("ContextT")
RootT = TypeVar("RootT")


@dataclass
class Info(strawberry.Info[ContextT, RootT], Generic[ContextT, RootT]):
    """Strawberry's info for resolvers, with graphql-core's own for those that look ahead in the document.

    `memo` belongs to a field of a document and lives as long as its compiled program; graphql-core's executor gives an
    empty one.
    """

    memo: dict[str, Any] = field(default_factory=dict)

    @property
    def raw(self) -> GraphQLResolveInfo[ContextT]:
        """The document, its fragments and variables, and the nodes of the field that is resolved."""
        return self._raw_info


Write: TypeAlias = Callable[[Any, Output, "Execution", Path], None]


@dataclass(frozen=True, slots=True, eq=False)
class Position:
    """A field with a resolver, where it stands in a document.

    `key` is its name or alias in the answer, and `write` writes there what the resolver returns.
    """

    key: str
    nodes: list[FieldNode]
    definition: GraphQLField
    parent_type: GraphQLObjectType
    declared: StrawberryField
    python_names: Mapping[str, str]
    write: Write
    memo: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A compiled operation; `write` starts from the root value None."""

    schema: GraphQLSchema
    operation: OperationDefinitionNode
    fragments: dict[str, FragmentDefinitionNode]
    write: Write
    positions: int
    """How many fields were compiled: the program's memory grows with it."""


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """What all executions of an engine share."""

    info_class: type[Info[Any, None]]
    expected_errors: type[Exception]
    max_bytes: int


async def _no_helper(_: Sequence[Awaitable[Any]]) -> list[Any]:
    raise UnsupportedError


# Part of graphql-core's info; resolvers that are compiled may not use them.
_HELPERS = GraphQLResolveInfoHelpers(gather=_no_helper, track=lambda _: None)

_Suspended: TypeAlias = tuple[Position, Path, Output, asyncio.Future[Any] | None]


class Execution:
    """One execution of a program. `run` may be awaited once; `field_errors` are complete after it."""

    def __init__(self, program: Program, context: Any, variables: VariableValues, config: ExecutionConfig) -> None:
        self._context = context
        self._config = config
        self._program = program
        self._variables = variables
        self._arguments: dict[Position, dict[str, Any]] = {}
        self._infos: dict[Position, Info[Any, None]] = {}
        self._suspended: dict[Coroutine[Any, Any, Any], _Suspended] = {}
        self._ready: deque[Coroutine[Any, Any, Any]] = deque()
        self._wakeup: asyncio.Future[None] | None = None
        self.field_errors: list[FieldError] = []

    async def run(self) -> list[bytes] | None:
        """The JSON of `data` in pieces, or None where graphql-core's executor has to answer.

        Raises AnswerTooLargeError: graphql-core's executor would take as much memory, and more time.
        """
        output: Output = []
        try:
            self._program.write(None, output, self, None)
            while self._suspended:
                if not self._ready:
                    self._wakeup = asyncio.get_running_loop().create_future()
                    await self._wakeup
                    self._wakeup = None
                while self._ready:
                    coroutine = self._ready.popleft()
                    position, path, placeholder, _ = self._suspended.pop(coroutine)
                    self.advance(coroutine, position, path, placeholder)
            return pieces(output, SizeBudget(self._config.max_bytes))
        except asyncio.CancelledError:
            # What the suspended resolvers await is cancelled, as a cancelled task does.
            for *_, future in self._suspended.values():
                if future is not None:
                    future.cancel()
            raise
        except AnswerTooLargeError:
            raise
        except Exception:  # noqa: BLE001 # whatever it is, graphql-core's executor meets it again and reports it
            return None
        finally:
            # Their futures go on, since graphql-core's executor may await the same ones.
            suspended, self._suspended = self._suspended, {}
            for coroutine in suspended:
                # A resolver that refuses to be closed must not keep the others open.
                with suppress(Exception):
                    coroutine.close()

    def advance(self, coroutine: Coroutine[Any, Any, Any], position: Position, path: Path, output: Output) -> None:
        """Run a resolver until it waits or returns; then write its value, or leave a placeholder for it."""
        try:
            awaited = coroutine.send(None)
        except StopIteration as returned:
            value = returned.value
        except asyncio.CancelledError:
            # A future that the resolver awaited was cancelled; the task that executes the operation was not.
            raise UnsupportedError from None
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            self.fail_field(error, position, path, output)
            return
        else:
            self._suspend(coroutine, awaited, position, path, output)
            return
        # Outside of the except clause: an error raised below would keep StopIteration as its context.
        position.write(value, output, self, path)

    def _suspend(
        self, coroutine: Coroutine[Any, Any, Any], awaited: Any, position: Position, path: Path, output: Output
    ) -> None:
        placeholder: Output = []
        output.append(placeholder)
        future = awaited if asyncio.isfuture(awaited) else None
        self._suspended[coroutine] = position, path, placeholder, future
        if future is not None:
            # What a task does with a future that its coroutine yields.
            future._asyncio_future_blocking = False  # noqa: SLF001 # asyncio's contract with what runs coroutines
            future.add_done_callback(partial(self._resume, coroutine))
        elif awaited is None:
            asyncio.get_running_loop().call_soon(self._resume, coroutine)
        else:
            raise UnsupportedError

    def fail_field(self, error: Exception, position: Position, path: Path, output: Output) -> None:
        """Write null for a field whose resolver failed. Raises UnsupportedError where the field may not be null."""
        if is_non_null_type(position.definition.type):
            raise UnsupportedError from None
        self.fail(error, position.nodes, path, output)

    def fail(self, error: Exception, nodes: list[FieldNode], path: Path, output: Output) -> None:
        """Write null for a value that failed and may be null, and record its error."""
        if isinstance(error, GraphQLError):
            # It may have locations and a path of its own, which graphql-core completes.
            raise UnsupportedError from None
        if isinstance(error, self._config.expected_errors):
            # Its frames would keep the request alive in a cycle; the log needs those of a fault.
            error.__traceback__ = error.__context__ = None
        self.field_errors.append(FieldError(error, nodes, path))
        output.append(b"null")

    def arguments(self, position: Position) -> dict[str, Any]:
        """The keyword arguments of a resolver. Raises GraphQLError."""
        found = self._arguments.get(position)
        if found is None:
            values = get_argument_values(position.definition, position.nodes[0], self._variables)
            found = {position.python_names[name]: _copied(value) for name, value in values.items()}
            self._arguments[position] = found
        return found

    def info(self, position: Position) -> Info[Any, None]:
        """The info of a resolver; its path names the field alone."""
        found = self._infos.get(position)
        if found is None:
            raw: GraphQLResolveInfo[Any] = GraphQLResolveInfo(
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
            found = self._infos[position] = self._config.info_class(
                _raw_info=raw, _field=position.declared, memo=position.memo
            )
        return found

    def _resume(self, coroutine: Coroutine[Any, Any, Any], done: asyncio.Future[Any] | None = None) -> None:
        if coroutine in self._suspended:
            self._ready.append(coroutine)
            if self._wakeup is not None and not self._wakeup.done():
                self._wakeup.set_result(None)
        elif done is not None and not done.cancelled():
            # Nobody waits for it any more, so asyncio must not log its exception as never retrieved.
            done.exception()


def _copied(value: Any) -> Any:
    """A copy of a list: a default or a variable is shared, and a resolver may change what it gets."""
    return [_copied(each) for each in value] if isinstance(value, list) else value
