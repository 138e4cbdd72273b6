"""Random valid operations about any schema: fields, fragments, directives, arguments and variables of every kind."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, NamedTuple

import orjson
from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLNamedType,
    GraphQLNonNull,
    GraphQLSchema,
    OperationType,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_required_argument,
    is_required_input_field,
    is_union_type,
)
from graphql.utilities import do_types_overlap

SCALARS: dict[str, Sequence[Any]] = {
    "Int": [0, 1, 2, 3, -7],
    "Float": [0.5, 2],
    "Boolean": [True, False],
    "String": ["", "x", 'å"\\'],
    "ID": ["a", "7", 7],
}
# How often, of a hundred, what happens where the document may choose.
DIRECTIVE, FRAGMENT, VARIABLE, GIVEN, NULL = 12, 25, 35, 60, 15


class Written(NamedTuple):
    """An input value as a literal of GraphQL, and as JSON."""

    text: str
    json: Any


class RandomOperation(NamedTuple):
    """A valid operation with its variables."""

    text: str
    variables: dict[str, Any]


@dataclass
class Maker:
    """Makes one operation.

    `scalars` are values by the name of a scalar. `admits` says of a type's field whether documents may select it.
    `wrong_conditions` lets a variable that decides a directive be null, which fails when the operation runs.
    """

    schema: GraphQLSchema
    random: Random
    scalars: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    admits: Callable[[str, str, GraphQLField], bool] = lambda *_: True
    depth: int = 4
    wrong_conditions: bool = False
    _keys: dict[str, list[str]] = field(default_factory=dict)
    _variables: dict[str, str] = field(default_factory=dict)
    _values: dict[str, Any] = field(default_factory=dict)
    _fragments: dict[str, tuple[GraphQLNamedType, str]] = field(default_factory=dict)

    def operation(self, kind: OperationType = OperationType.QUERY) -> RandomOperation:
        """The operation."""
        root = self.schema.get_root_type(kind)
        assert root is not None
        selections = self._selections(root, self.depth)
        head = ", ".join(f"${name}: {declared}" for name, declared in self._variables.items())
        tail = " ".join(f"fragment {name} on {on} {text}" for name, (on, text) in self._fragments.items())
        text = f"{kind.value} {f'({head})' if head else ''} {selections} {tail}"
        return RandomOperation(text, self._values)

    def _selections(self, parent: GraphQLNamedType, depth: int) -> str:
        made = [self._selection(parent, depth) for _ in range(self.random.choice([1, 2, 2, 3, 4]))]
        return f"{{ {' '.join(made)} }}"

    def _selection(self, parent: GraphQLNamedType, depth: int) -> str:
        if depth and self._chance(FRAGMENT):
            return self._fragment(parent, depth)
        names = [] if is_union_type(parent) else list(self._fields(parent, depth))
        if not names or self._chance(8):
            return f"__typename {self._directives()}"
        return self._field(parent, self.random.choice(names), depth)

    def _fields(self, parent: Any, depth: int) -> list[str]:
        found: dict[str, GraphQLField] = parent.fields
        return [
            name
            for name, each in found.items()
            if (depth or is_leaf_type(get_named_type(each.type))) and self.admits(parent.name, name, each)
        ]

    def _field(self, parent: Any, name: str, depth: int) -> str:
        definition: GraphQLField = parent.fields[name]
        arguments = self._arguments(definition.args)
        # What has the same key has to be the same field with the same arguments, and of the same type.
        known = self._keys.setdefault(name, [])
        told = f"{arguments} {definition.type}"
        if told not in known or self._chance(10):
            known.append(told)
        number = self.random.choice([index for index, each in enumerate(known) if each == told])
        label = f"{name}{number}: {name}" if number else name
        inner = get_named_type(definition.type)
        below = self._selections(inner, depth - 1) if is_composite_type(inner) else ""
        return f"{label}{arguments} {self._directives()} {below}"

    def _fragment(self, parent: Any, depth: int) -> str:
        overlapping = [
            each
            for each in self.schema.type_map.values()
            if is_composite_type(each)
            and not each.name.startswith("__")
            and do_types_overlap(self.schema, each, parent)
        ]
        on: GraphQLNamedType = self.random.choice([parent, *overlapping])
        if self._chance(50):
            condition = "" if on is parent and self._chance(50) else f"on {on}"
            return f"... {condition} {self._directives()} {self._selections(on, depth - 1)}"
        fitting = [name for name, (type_, _) in self._fragments.items() if type_ is on]
        if fitting and self._chance(60):
            return f"...{self.random.choice(fitting)} {self._directives()}"
        text = self._selections(on, depth - 1)
        name = f"F{len(self._fragments)}"
        self._fragments[name] = on, text
        return f"...{name} {self._directives()}"

    def _directives(self) -> str:
        names = [name for name in ("skip", "include") if self._chance(DIRECTIVE)]
        made = [f"@{name}(if: {self._condition(leads_on=name == 'include')})" for name in names]
        self.random.shuffle(made)
        return " ".join(made)

    def _condition(self, *, leads_on: bool) -> str:
        truth = leads_on if self._chance(70) else not leads_on
        literal = str(truth).lower()
        match self.random.choice(["literal", "given", "absent", "wrong" if self.wrong_conditions else "given"]):
            case "literal":
                return literal
            case "given":
                self._declare(f"is{literal}", "Boolean!", truth)
                return f"$is{literal}"
            case "absent":
                self._variables[f"absent{literal}"] = f"Boolean = {literal}"
                return f"$absent{literal}"
            case _:
                self._declare("wrong", "Boolean = true", None)
                return "$wrong"

    def _arguments(self, arguments: Mapping[str, GraphQLArgument]) -> str:
        made = []
        for name, each in arguments.items():
            if is_required_argument(each) or self._chance(GIVEN):
                made.append(f"{name}: {self._input(each)}")
        self.random.shuffle(made)
        return f"({', '.join(made)})" if made else ""

    def _input(self, of: GraphQLArgument) -> str:
        """An argument's literal, or a variable for it."""
        value = self._written(of.type)
        if not self._chance(VARIABLE):
            return value.text
        name = f"v{len(self._variables)}"
        nullable = get_nullable_type(of.type)
        match self.random.choice(["given", "given", "default", "absent", "null"]):
            case "default":
                self._variables[name] = f"{nullable} = {value.text}" if value.json is not None else f"{nullable}"
                if value.json is None and is_non_null_type(of.type):
                    raise AssertionError("a non-null value is null")
            case "absent" if not is_required_argument(of):
                self._variables[name] = f"{nullable}"
            case "null" if not is_required_argument(of):
                self._declare(name, f"{nullable}", None)
            case _:
                self._declare(name, f"{of.type}", value.json)
        return f"${name}"

    def _declare(self, name: str, declared: str, value: Any) -> None:
        self._variables[name] = declared
        self._values[name] = value

    def _written(self, of: Any) -> Written:
        """A value of an input type."""
        if not is_non_null_type(of) and self._chance(NULL):
            return Written("null", None)
        present = get_nullable_type(of)
        if is_list_type(present):
            if self._chance(15) and not is_list_type(get_nullable_type(present.of_type)):
                single = self._written(present.of_type)
                if single.json is not None:
                    return single
            items = [self._written(present.of_type) for _ in range(self.random.randint(0, 3))]
            return Written(f"[{', '.join(each.text for each in items)}]", [each.json for each in items])
        if isinstance(present, GraphQLEnumType):
            name = self.random.choice(list(present.values))
            return Written(name, name)
        if isinstance(present, GraphQLInputObjectType):
            return self._input_object(present)
        json = self.random.choice(self.scalars.get(present.name) or SCALARS[present.name])
        return Written(orjson.dumps(json).decode(), json)

    def _input_object(self, of: GraphQLInputObjectType) -> Written:
        names: list[str] = list(of.fields)
        if of.is_one_of:
            name = self.random.choice(names)
            value = self._written(GraphQLNonNull(get_nullable_type(of.fields[name].type)))
            return Written(f"{{{name}: {value.text}}}", {name: value.json})
        chosen = [name for name in names if is_required_input_field(of.fields[name]) or self._chance(GIVEN)]
        values = {name: self._written(of.fields[name].type) for name in chosen}
        text = ", ".join(f"{name}: {value.text}" for name, value in values.items())
        return Written(f"{{{text}}}", {name: value.json for name, value in values.items()})

    def _chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent
