"""Times of the selective scan in every form that runs here: what `lineside bench-scan` measures."""
