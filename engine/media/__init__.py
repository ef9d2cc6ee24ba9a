"""Inputs: finding videos, opening containers, and what their structure tells."""
