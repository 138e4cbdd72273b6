"""The HTTP edge: GraphQL over HTTP, GraphiQL and probes."""
