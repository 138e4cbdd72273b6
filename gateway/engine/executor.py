"""Direct execution: an operation that was compiled to writers puts the JSON of its answer together at once.

A writer appends the bytes of one value to an output. Where a resolver has to wait, a gap (an output of its own) holds
its place, and the resolver goes on as soon as the future that it waits for is done. So an operation takes neither a
task a field nor a visit a value. A field that fails and may be null is null, and its error is noted with its place.
Whatever is out of the ordinary, such as a null where none may be, ends direct execution; ordinary execution then
gives the answer, from the same loaders and so without another upstream call.

Resolvers have no task of their own: the current task is the request's. So they may await whatever they like, but
`asyncio.timeout` and `TaskGroup`, which cancel the current task, belong into tasks that they start.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
from graphql import FieldNode, GraphQLError, GraphQLResolveInfo
from graphql.execution.values import VariableValues, get_argument_values
from graphql.pyutils import Path as CorePath
from graphql.pyutils import is_awaitable
from graphql.type.definition import GraphQLResolveInfoHelpers

from gateway.engine.compiler import Program
from gateway.engine.errors import AnswerTooLargeError, UnsupportedError
from gateway.engine.field_errors import FieldError, Path, field_error
from gateway.engine.field_writers import Place, Position
from gateway.engine.info import Info
from gateway.engine.output import Output, SizeBudget, pieces


async def _unused(_: Sequence[Awaitable[Any]]) -> list[Any]:
    raise UnsupportedError


# Resolvers get graphql-core's helpers, of which none of ours makes use.
_HELPERS = GraphQLResolveInfoHelpers(gather=_unused, track=lambda _: None)


@dataclass(frozen=True, slots=True)
class ExecutionConfig:
    """What all executions of an engine share."""

    encoder: msgspec.json.Encoder
    info_class: type[Info[Any, None]]
    expected_errors: type[Exception]
    max_bytes: int


class Execution:
    """One operation on its way; `answer` may be awaited once, and `field_errors` stand when it is there."""

    def __init__(self, program: Program, context: Any, variables: VariableValues, config: ExecutionConfig) -> None:
        self._context = context
        self._config = config
        self.encoder = config.encoder
        self.budget = SizeBudget(config.max_bytes)
        self._program = program
        self._variables = variables
        self._arguments: dict[Position, dict[str, Any]] = {}
        self._infos: dict[Position, Info[Any, None]] = {}
        self._waiting: dict[Coroutine[Any, Any, Any], tuple[Place, Output, asyncio.Future[Any] | None]] = {}
        self._ready: deque[Coroutine[Any, Any, Any]] = deque()
        self._wake: asyncio.Future[None] | None = None
        self.field_errors: list[FieldError] = []

    async def answer(self) -> list[bytes] | None:
        """The JSON of `data` in pieces, or None where ordinary execution has to answer.

        Raises AnswerTooLargeError: ordinary execution would take as much memory, and more time.
        """
        output: Output = []
        try:
            self._program.write(None, output, self, None)
            while self._waiting:
                await self._until_ready()
                while self._ready:
                    coroutine = self._ready.popleft()
                    place, gap, _ = self._waiting.pop(coroutine)
                    self.drive(coroutine, place, gap)
            return pieces(output, self.encoder, self.budget)
        except asyncio.CancelledError:
            self._cancel_awaited()
            raise
        except AnswerTooLargeError:
            raise
        except Exception:  # noqa: BLE001 # whatever it is, ordinary execution meets it again and reports it
            return None
        finally:
            self._abandon()

    def drive(self, coroutine: Coroutine[Any, Any, Any], place: Place, output: Output) -> None:
        """Let a resolver run as far as it gets; then write its value, or leave a gap for it."""
        try:
            awaited = coroutine.send(None)
        except StopIteration as done:
            value = done.value
        except asyncio.CancelledError:
            # Something that the resolver awaited was cancelled; whoever awaits the answer was not.
            raise UnsupportedError from None
        except Exception as error:  # noqa: BLE001 # whatever it is, the field failed
            place.position.may_fail()
            self.fail(error, place.position.nodes, place.path, output)
            return
        else:
            self._wait(coroutine, awaited, place, output)
            return
        # Not while the end of the coroutine is handled: what fails below would keep that as its context.
        place.write(value, output, self, place.path)

    def _wait(self, coroutine: Coroutine[Any, Any, Any], awaited: Any, place: Place, output: Output) -> None:
        gap: Output = []
        output.append(gap)
        future = awaited if asyncio.isfuture(awaited) else None
        self._waiting[coroutine] = place, gap, future
        if future is not None:
            # What a task does with a future that its coroutine gives it.
            future._asyncio_future_blocking = False  # noqa: SLF001 # asyncio's contract with whoever runs coroutines
            future.add_done_callback(partial(self._resume, coroutine))
        elif awaited is None:
            asyncio.get_running_loop().call_soon(self._resume, coroutine)
        else:
            raise UnsupportedError

    def fail(self, error: Exception, nodes: list[FieldNode], path: Path, output: Output) -> None:
        """Write null for a value that failed and may be null."""
        if isinstance(error, GraphQLError):
            # What it says of itself, such as its place, is for graphql-core to join.
            raise UnsupportedError from None
        self.field_errors.append(field_error(error, nodes, path, expected=self._config.expected_errors))
        output.append(b"null")

    def arguments(self, position: Position) -> dict[str, Any]:
        """The keyword arguments of a resolver. Raises GraphQLError."""
        found = self._arguments.get(position)
        if found is None:
            values = get_argument_values(position.definition, position.nodes[0], self._variables)
            found = {position.python_names[name]: _own(value) for name, value in values.items()}
            self._arguments[position] = found
        return found

    def info(self, position: Position) -> Info[Any, None]:
        """What a resolver at a position is told; its path names the field alone."""
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

    async def _until_ready(self) -> None:
        if not self._ready:
            self._wake = asyncio.get_running_loop().create_future()
            await self._wake
            self._wake = None

    def _resume(self, coroutine: Coroutine[Any, Any, Any], done: asyncio.Future[Any] | None = None) -> None:
        if coroutine in self._waiting:
            self._ready.append(coroutine)
            if self._wake is not None and not self._wake.done():
                self._wake.set_result(None)
        elif done is not None and not done.cancelled():
            # Nobody waits any more, so a field_error must not be reported as lost.
            done.exception()

    def _cancel_awaited(self) -> None:
        """Cancel what is awaited, as a cancelled task does."""
        for _, _, awaited in self._waiting.values():
            if awaited is not None:
                awaited.cancel()

    def _abandon(self) -> None:
        """Close what waits; futures go on, since ordinary execution may await the same ones."""
        waiting, self._waiting = self._waiting, {}
        for coroutine in waiting:
            # One that refuses must not keep the others open.
            with suppress(Exception):
                coroutine.close()


def _own(value: Any) -> Any:
    """A copy of a list: a default or a variable is shared, and a resolver may change what it gets."""
    return [_own(each) for each in value] if isinstance(value, list) else value
