"""The whole frame on a device: memory, streams, graphs and kernels behind one small protocol."""
