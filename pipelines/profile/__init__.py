"""Latency that does not flatter: parts come at the takt, whether the model is ready or not."""
