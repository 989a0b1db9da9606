"""Proves the modules against reference vectors: ``python -m lineside.export.modules.check DIR``.

A folder of vectors holds a ``manifest.json`` and ``.safetensors`` files with inputs, parameters and expected outputs.
Each family has a file of the folder's name here with

- ``answer(case)``: what our module gives for the inputs and parameters of a `Case`, under the names of what is expected,
- ``TOLERANCE``: the relative error that is allowed, `EXACT` or, where the module samples between pixels, `SAMPLED`;
  a family that has both kinds has a function ``tolerance(case)`` instead.
"""
