"""Inputs: finding videos, opening containers, and what their structure tells."""

__all__ = ["annotated", "inputs", "lead", "listing", "planes", "references", "side_data", "source", "suffixes"]
