"""TensorRT: builds a bundle's model on the device that is to run it, and runs it there.

Nothing here is imported before somebody asks for it, and the module ``tensorrt`` only by `library.require_library`.
"""
