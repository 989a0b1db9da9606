"""Peers that Lineside is measured beside, each in an environment and a process of its own."""
