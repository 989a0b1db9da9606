"""Blocks of Lineside that sit in a YOLO model, and how ultralytics comes to know them.

`lineside.export.yolo.table` names them, `assemble` puts a model together, `parser` builds it, `register` makes
ultralytics use both. The files of the blocks import ultralytics at their top: nothing but the parser and a checkpoint
that holds such a block imports them.
"""
