"""Pictures out over the network: GStreamer's RTSP server through ctypes, an encoder only while somebody watches."""
