"""Industrial cameras (GigE Vision, USB3 Vision) through Aravis, whose C library is called without a binding package."""
