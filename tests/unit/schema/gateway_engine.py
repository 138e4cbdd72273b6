"""The engine on the gateway's schema, with errors as clients see them."""

from io import StringIO
from typing import Any

import structlog

from gateway.engine.document_limits import DocumentLimits
from gateway.engine.engine import Engine, Operation
from gateway.fetch.cache_budget import CacheBudget
from gateway.http.error_responses import ErrorFormatter
from gateway.http.runner import GraphQLResult
from gateway.schema.query import engine_config, shared_schema


class GatewayEngine:
    """Executes operations, and formats their errors with the reference `reference`."""

    def __init__(
        self,
        errors: ErrorFormatter | None = None,
        limits: DocumentLimits | None = None,
        *,
        max_errors: int = 20,
        introspection: bool = False,
    ) -> None:
        silent = structlog.wrap_logger(
            structlog.PrintLogger(StringIO()), wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        self._errors = errors or ErrorFormatter(silent)
        budget = CacheBudget(64 * 1024 * 1024)
        config = engine_config(limits, max_errors=max_errors, introspection=introspection, budget=budget)
        self._engine = Engine(shared_schema(), config)

    async def run(self, operation: Operation, context: Any, *, queries_only: bool = False) -> GraphQLResult:
        result = await self._engine.execute(operation, context, queries_only=queries_only)
        return GraphQLResult.of(result, self._errors, "reference")
