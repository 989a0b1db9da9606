"""What selftests are tried on: a machine that is written down, and a bundle with an operator of ours in it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from lineside.runtime.ops.carafe import DeviceCarafe
from lineside.runtime.ops.op import DOMAIN, PLUGIN, VERSION

if TYPE_CHECKING:
    import onnx

JETSON = {
    "etc/nv_tegra_release": "# R36 (release), REVISION: 4.3, GCID: 38968081, BOARD: generic, EABI: aarch64\n",
    "proc/device-tree/model": "NVIDIA Jetson AGX Orin Developer Kit\0",
    "proc/meminfo": "MemTotal:       64349680 kB\nMemAvailable:   60000000 kB\n",
    "proc/self/status": "Name:\tpython3\nVmHWM:\t  204800 kB\nVmRSS:\t  102400 kB\n",
    "sys/class/thermal/thermal_zone0/type": "cpu-thermal\n",
    "sys/class/thermal/thermal_zone0/temp": "48531\n",
    "sys/class/thermal/thermal_zone1/type": "gpu-thermal\n",
    "sys/class/thermal/thermal_zone1/temp": "51250\n",
    "sys/class/thermal/thermal_zone2/type": "cv0-thermal\n",  # this one answers with an error on a real board
    "sys/class/devfreq/17000000.gpu/cur_freq": "1300500000\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "2201600\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "schedutil\n",
}
"""Files of an AGX Orin with JetPack 6.2."""


def machine(folder: Path, files: dict[str, str] | None = None) -> Path:
    """Writes files of a machine; those of `JETSON` when None.

    Returns:
        The folder, which stands for its root.
    """
    for name, text in (JETSON if files is None else files).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def with_operator(source: Path, target: Path) -> Path:
    """Copies a bundle and puts an operator of ours behind its prototypes, which it leaves as they are.

    Args:
        source: A bundle with masks; needs the package onnx.
        target: Where the copy goes.

    Returns:
        The copy, its hashes right.
    """
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    from lineside.runtime.bundle import write_manifest
    from lineside.runtime.manifest import decode_manifest

    shutil.copytree(source, target)
    op = DeviceCarafe(3, 1)
    model = onnx.load(target / "model.onnx")
    manifest = decode_manifest((target / "manifest.json").read_bytes(), str(target))
    mask = np.zeros((1, 9, *manifest.head.protos_size), np.float32)
    mask[:, 4] = 1  # the middle tap alone
    model.graph.initializer.append(numpy_helper.from_array(mask, "middle"))
    maker = next(node for node in model.graph.node if "protos" in node.output)
    maker.output[list(maker.output).index("protos")] = "protos/before"
    node = helper.make_node(op.name, ["protos/before", "middle"], ["protos"], "reassembled", domain=DOMAIN, **PLUGIN)
    model.graph.node.append(node)
    model.functions.append(_body(op, model.opset_import[0].version))
    model.opset_import.append(helper.make_opsetid(DOMAIN, VERSION))
    onnx.save(model, target / "model.onnx")
    write_manifest(target, msgspec.structs.replace(manifest, custom_ops=(op.name,)))
    return target


def _body(op: DeviceCarafe, opset: int) -> onnx.FunctionProto:
    """The sum over the taps as it is written in a textbook: the exporter's own body needs torch."""
    from onnx import TensorProto, helper

    def ints(name: str, *values: int) -> onnx.NodeProto:
        return helper.make_node(
            "Constant", [], [name], value=helper.make_tensor(name, TensorProto.INT64, [len(values)], values)
        )

    around = op.kernel // 2
    nodes = [ints("axes", 2, 3), ints("pads", 0, 0, around, around, 0, 0, around, around)]
    nodes += [helper.make_node("Pad", ["x", "pads"], ["padded"]), ints("channel", 1)]
    terms = []
    for tap in range(op.kernel**2):
        row, column = divmod(tap, op.kernel)
        ends = [side - 2 * around if side < 2 * around else 2**31 for side in (row, column)]
        nodes += [
            ints(f"from{tap}", row, column),
            ints(f"to{tap}", *ends),
            ints(f"tap{tap}", tap),
            ints(f"next{tap}", tap + 1),
        ]
        nodes.append(helper.make_node("Slice", ["padded", f"from{tap}", f"to{tap}", "axes"], [f"pixels{tap}"]))
        nodes.append(helper.make_node("Slice", ["mask", f"tap{tap}", f"next{tap}", "channel"], [f"weights{tap}"]))
        nodes.append(helper.make_node("Mul", [f"pixels{tap}", f"weights{tap}"], [f"term{tap}"]))
        terms.append(f"term{tap}")
    nodes.append(helper.make_node("Sum", terms, ["y"]))
    names = [*PLUGIN, *op.attributes]
    return helper.make_function(DOMAIN, op.name, op.inputs, op.outputs, nodes, [helper.make_opsetid("", opset)], names)
