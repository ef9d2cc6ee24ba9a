"""Inputs: finding videos, opening containers, and what their structure tells."""

__all__ = ["inputs", "lead", "planes", "references", "side_data", "source", "suffixes"]
