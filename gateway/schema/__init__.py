"""The GraphQL types and their resolvers."""
