"""Changes to ONNX graphs: small passes, each of which says what it needs and what it promises."""
