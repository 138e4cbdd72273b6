"""Clients' tools on the schema: graphql-codegen with the TypeScript compiler, and introspection."""

import subprocess
from collections.abc import Callable
from pathlib import Path

from graphql import (
    GraphQLSchema,
    build_client_schema,
    build_schema,
    find_breaking_changes,
    find_dangerous_changes,
    get_introspection_query,
    lexicographic_sort_schema,
    print_schema,
)

from tests.e2e.requirement import need_node
from tests.harness import Gateway

HERE = Path(__file__).parent
SCHEMA = HERE.parent.parent / "schema.graphql"


def npm(*arguments: str) -> None:
    done = subprocess.run(["npm", *arguments], cwd=HERE, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def install_when_the_lock_changed() -> None:
    lock, installed = HERE / "package-lock.json", HERE / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        npm("ci", "--no-audit", "--no-fund")


def test_generated_typescript_compiles_strictly() -> None:
    need_node()
    install_when_the_lock_changed()

    npm("run", "generate")
    npm("run", "check")

    generated = (HERE / "src" / "gql" / "graphql.ts").read_text(encoding="utf-8")
    assert "export type AvailabilityGraphQuery" in generated


def test_introspection_gives_the_schema_of_the_repository(serve_gateway: Callable[..., Gateway]) -> None:
    gateway = serve_gateway(gateway_introspection=True)
    query = get_introspection_query(
        specified_by_url=True,
        directive_is_repeatable=True,
        schema_description=True,
        input_value_deprecation=True,
        one_of=True,
    )

    served = build_client_schema(gateway.data(query))  # type: ignore[arg-type] # what came over HTTP

    kept = build_schema(SCHEMA.read_text(encoding="utf-8"))
    assert changes(kept, served) == []
    assert changes(served, kept) == []
    assert print_schema(lexicographic_sort_schema(served)) == print_schema(lexicographic_sort_schema(kept))


def changes(old: GraphQLSchema, new: GraphQLSchema) -> list[str]:
    found = [*find_breaking_changes(old, new), *find_dangerous_changes(old, new)]
    return [str(change) for change in found]
