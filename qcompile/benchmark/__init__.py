"""Latency, measured in turn with other runtimes."""
