"""Kernels: one CUDA source for the GPU (NVRTC) and for the processor (g++), and launches of them as data."""
