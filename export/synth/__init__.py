"""Synthetic pictures, data sets and conveyor videos of the two seed tasks: bearings and blood-collection tubes."""

from lineside.export.synth.scene import CLASSES, TASKS, Drawing, draw, labelled, pictures

__all__ = ["CLASSES", "TASKS", "Drawing", "draw", "labelled", "pictures"]
