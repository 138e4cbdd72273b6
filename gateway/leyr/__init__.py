"""The only folder that knows Leyr's URLs and JSON."""
