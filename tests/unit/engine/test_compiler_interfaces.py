"""An interface that decides itself of what type its objects are is asked, whatever their class is."""

import asyncio
from typing import Any

import strawberry
from strawberry.schema.config import StrawberryConfig

from gateway.engine.executor import Info
from tests.unit.engine.answering import engine_of
from tests.unit.engine.differential import Operation, check_operation
from tests.unit.engine.model_schema import core


@strawberry.interface
class Animal:
    name: str

    @classmethod
    def resolve_type(cls, *_: Any) -> str:
        return "Cat"


@strawberry.type
class Cat(Animal):
    lives: int = 9


@strawberry.type
class Dog(Animal):
    lives: int = 1


@strawberry.type
class Query:
    @strawberry.field
    def animals(self) -> list[Animal]:
        return [Cat(name="cat"), Dog(name="dog")]


def test_an_interface_with_a_way_of_its_own_to_find_types_is_asked() -> None:
    schema = strawberry.Schema(Query, types=[Cat, Dog], config=StrawberryConfig(info_class=Info))
    operation = Operation("{ animals { __typename name ... on Cat { lives } } }", {})

    asyncio.run(check_operation([engine_of(schema)], core(schema), operation, lambda: None, waits=False))
