"""What the engine does not execute is refused where it is made, with what and where."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import strawberry
from strawberry.directive import DirectiveLocation
from strawberry.extensions import SchemaExtension
from strawberry.schema.config import StrawberryConfig
from strawberry.schema_directive import Location

from gateway.engine.engine import Engine
from gateway.engine.executor import Info


@strawberry.type
class Query:
    one: int = 1


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def numbers(self) -> AsyncIterator[int]:
        yield 1


class Extension(SchemaExtension):
    """Does nothing."""


@strawberry.directive(locations=[DirectiveLocation.FIELD])
def shouted(value: str) -> str:
    return value.upper()


def read(source: Any, name: str) -> Any:
    return source[name]


def config(**more: Any) -> StrawberryConfig:
    return StrawberryConfig(info_class=Info, **more)


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (strawberry.Schema(Query), "the schema's info_class does not extend gateway.engine.executor.Info"),
        (
            strawberry.Schema(Query, subscription=Subscription, config=config()),
            "the schema has subscriptions, which the engine does not execute",
        ),
        (
            strawberry.Schema(Query, extensions=[Extension], config=config()),
            "the schema has extensions, which the engine does not run; extend fields instead",
        ),
        (
            strawberry.Schema(Query, config=config(default_resolver=read)),
            "the schema's default_resolver is not getattr, by which the engine reads attributes",
        ),
        (
            strawberry.Schema(Query, directives=[shouted], config=config()),
            "the schema has the directive @shouted, which the engine does not execute",
        ),
    ],
    ids=["info_class", "subscriptions", "extensions", "default_resolver", "directives"],
)
def test_a_schema_that_the_engine_cannot_execute_is_refused_with_the_reason(
    schema: strawberry.Schema, message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        Engine(schema)

    assert str(caught.value) == message


def test_a_directive_of_the_schema_definition_is_none_of_the_engines_business() -> None:
    @strawberry.schema_directive(locations=[Location.OBJECT])
    class Marked:
        reason: str = "none"

    @strawberry.type(name="Query", directives=[Marked()])
    class Marking:
        one: int = 1

    Engine(strawberry.Schema(Marking, config=config()))
