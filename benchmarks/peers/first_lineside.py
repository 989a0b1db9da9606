"""From nothing to the first result with Lineside: FRAME.npy BUNDLE."""

import sys

import numpy as np
from report_first import first

import lineside

frame = np.load(sys.argv[1])
found = lineside.load(sys.argv[2])(frame)
first(len(found))
