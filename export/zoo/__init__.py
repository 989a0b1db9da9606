"""Measures the models of ``configs/models``: size, cost, graph and latency, each relative to the base in the same run."""
