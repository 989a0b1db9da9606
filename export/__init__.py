"""The training side: data, training, and export with proof. May import torch; nothing that runs on the line imports it.

Importing it loads neither torch nor ultralytics. Once ultralytics is there, by whoever's import, it knows the models of
``configs/models`` and can load checkpoints that hold blocks of Lineside; see `lineside.export.yolo.register`.
"""

from lineside.export.yolo.hook import install

install()
