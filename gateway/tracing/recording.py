"""Where the parts that record traces are joined."""

from collections.abc import Callable, Collection
from contextvars import ContextVar
from importlib.metadata import version

from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from gateway.tracing.attributes import CallAttributes
from gateway.tracing.operations import Current, TracedOperations
from gateway.tracing.traces import Traces
from gateway.tracing.upstream import TracedCalls

_DISTRIBUTION = "leyr-graphql-gateway"


def recorded(
    processor: SpanProcessor,
    *,
    emrs: Collection[str],
    ratio: float,
    now_ns: Callable[[], int],
    chance: Callable[[], float],
    close: Callable[[], None],
) -> Traces:
    """Traces that go to a processor; see gateway.tracing.traces.traces_to."""
    provider = TracerProvider(sampler=ALWAYS_ON, resource=_resource(), shutdown_on_exit=False)
    provider.add_span_processor(processor)
    tracer = provider.get_tracer("gateway", version(_DISTRIBUTION))
    current: Current = ContextVar("gateway.tracing.operation", default=None)
    calls = TracedCalls(tracer, current, CallAttributes(emrs), now_ns)
    operations = TracedOperations(tracer, current, ratio=ratio, now_ns=now_ns, chance=chance)
    return Traces(operations, calls, close)


def _resource() -> Resource:
    """Who sends: what the operator says by OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES goes first."""
    ours = Resource({"service.name": _DISTRIBUTION, "service.version": version(_DISTRIBUTION)})
    return ours.merge(OTELResourceDetector().detect())
