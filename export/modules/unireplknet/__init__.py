"""UniRepLKNet: few layers with large depth-wise kernels that are trained as a sum of small and dilated ones.

Ding, Zhang, Ge, Zhao, Song, Yue and Shan, "UniRepLKNet: A Universal Perception Large-Kernel ConvNet for Audio, Video,
Point Cloud, Time-Series and Image Recognition", CVPR 2024 (arXiv 2311.15599). Every module exists in the form that is
trained and in the form that is deployed, where branches, normalisation and scales are folded into the convolutions;
``deployed()`` turns the first into the second. Names in the state dict are those of the published checkpoints.
"""

from lineside.export.modules.unireplknet.block import UniRepLKNetBlock
from lineside.export.modules.unireplknet.checkpoints import load_upstream, network_of
from lineside.export.modules.unireplknet.network import VARIANTS, UniRepLKNet, Variant
from lineside.export.modules.unireplknet.parts import GRN, LayerNorm2d, Pointwise, SqueezeExcite
from lineside.export.modules.unireplknet.reparam import BRANCHES, DilatedReparamBlock

__all__ = [
    "BRANCHES",
    "GRN",
    "VARIANTS",
    "DilatedReparamBlock",
    "LayerNorm2d",
    "Pointwise",
    "SqueezeExcite",
    "UniRepLKNet",
    "UniRepLKNetBlock",
    "Variant",
    "load_upstream",
    "network_of",
]
