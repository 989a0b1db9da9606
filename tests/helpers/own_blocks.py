"""Blocks as users write them, and checkpoints that name them: a real yolo11n-seg with one block more."""

from __future__ import annotations

import copy
import functools
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

ATTENTION = '''
import torch
from torch import nn


class EMAttn(nn.Module):
    """Weighs channels by their means."""

    def __init__(self, c, factor=4):
        super().__init__()
        self.down = nn.Conv2d(c, c // factor, 1)
        self.up = nn.Conv2d(c // factor, c, 1)

    def forward(self, x):
        return x * torch.sigmoid(self.up(self.down(x.mean((2, 3), keepdim=True)).relu()))


class EMADown(nn.Module):
    """Halves the picture and changes the number of channels."""

    lineside_args = ("c1", "c2")

    def __init__(self, c1, c2, k=3):
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, 2, k // 2, bias=False)
        self.norm = nn.BatchNorm2d(c2)

    def forward(self, x):
        return self.norm(self.conv(x)).relu()
'''
"""A channel-keeping block, and one that changes channels and declares it."""

OTHER_CONV = '''
from ultralytics.nn.modules.conv import Conv


class Doubled(Conv):
    """A Conv by inheritance that computes something else, as many blocks of the community are."""

    def forward(self, x):
        return x + 0.5 * self.act(self.bn(self.conv(x)))
'''
"""Folded like a Conv, it would lose its own computation."""

PARITY_BREAKER = '''
from torch import nn


class Moody(nn.Module):
    """Turns the sign where the input says so: a branch that a traced graph cannot have."""

    def forward(self, x):
        return -x if x.std((2, 3)).max() > 0 else x
'''
"""Behind the first layer: behaves otherwise on the empty picture that it is traced with than on any other."""

NO_ONNX = '''
import torch
from torch import nn


class Spectral(nn.Module):
    """Adds what a Fourier transform leaves of the input; there is no ONNX form of it in any opset we write."""

    def forward(self, x):
        return x + torch.special.bessel_j0(x)
'''
"""An operator without an ONNX form."""


@functools.cache
def _settled() -> Any:
    """yolo11n-seg with random weights and measured statistics."""
    from lineside.export.pictures import drawn_pictures
    from lineside.export.settle import settle
    from lineside.export.ultra import load_model

    model = load_model("yolo11n-seg.yaml")
    settle(model, drawn_pictures((), [(96, 96)] * 8))
    return model


@contextmanager
def posing(module: str, source: str) -> Iterator[ModuleType]:
    """Lets source code pose as a module of that name, as on the machine that a model was trained on."""
    before = dict(sys.modules)
    made = sys.modules.get(module) or ModuleType(module)
    known = dict(vars(made))
    sys.modules[module] = made
    try:
        exec(compile(source, f"<{module}>", "exec"), vars(made))
        yield made
    finally:
        vars(made).clear()
        vars(made).update(known)
        for name in [name for name in sys.modules if name not in before and name.startswith(module)]:
            del sys.modules[name]


def checkpoint(path: Path, where: str, name: str, source: str, *arguments: Any, layer: int = 4) -> Path:
    """Writes a checkpoint of a model whose layer is followed by a block.

    Args:
        path: File to write.
        where: Module that the pickle shall name.
        name: Class in it.
        source: Code of that module.
        arguments: What the block is made with.
        layer: Layer of yolo11n-seg that it follows.
    """
    import torch
    from torch import nn

    model = copy.deepcopy(_settled())
    with posing(where, source) as module:
        torch.manual_seed(1)
        old = model.model[layer]
        new = nn.Sequential(old, getattr(module, name)(*arguments)).eval()
        new.i, new.f, new.type, new.np = old.i, old.f, old.type, old.np
        model.model[layer] = new
        torch.save({"ema": model, "train_args": {"imgsz": 64, "data": "sets/tube/data.yaml"}}, path)
    return path
