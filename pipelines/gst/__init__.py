"""GStreamer through ctypes: pipelines from text, pictures from an appsink, faults in plain words."""
