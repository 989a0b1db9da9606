"""What a station consists of, as plain data: read from a launch string or a station file, checked, and described."""
