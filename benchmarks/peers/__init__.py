"""Alternatives that a user might choose, each behind a plain function."""
