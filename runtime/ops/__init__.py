"""What a device needs of our operators: names, shapes, element types, kernels and launches; no torch and no onnx.

`lineside.export.ops` adds to each what the training side needs: the form in torch and the body in standard operators.
A bundle carries no more than the names of its operators (``custom_ops`` of the manifest), since a name leads back to the
operator in its configuration.
"""
