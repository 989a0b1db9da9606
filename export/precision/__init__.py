"""Other precisions of an exported model: precision is in the ONNX, never a switch of an engine.

``half`` writes FP16 arithmetic with explicit casts, `quantise` writes explicit quantisation in the two forms that engines
run fast: signed and symmetric for TensorRT, unsigned activations for processors. ``calibrate`` looks at pictures, and
``prove_variants`` puts each form through the gate of an export.
"""
