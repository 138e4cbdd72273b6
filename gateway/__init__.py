"""One GraphQL endpoint in front of Leyr's REST API."""
