"""Operators of ours: each is declared once, in torch, as an ONNX function of standard operators, and by its name."""
