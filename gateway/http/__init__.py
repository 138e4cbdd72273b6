"""GraphQL over HTTP, GraphiQL and the probes."""
