"""Plugins of our operators in TensorRT beside the bodies that they take the place of, in the same model."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from lineside.runtime.engines.tensorrt.rewrite import PREFERS_PLUGINS, unnamed
from lineside.runtime.onnx_file import OnnxFile
from lineside.runtime.ops.op import DOMAIN
from lineside.runtime.ops.table import find_device_op
from lineside.runtime.selftest.findings import Finding, checked, failed, unchecked
from lineside.runtime.selftest.parity import cosine
from lineside.runtime.selftest.subject import Subject

if TYPE_CHECKING:
    from lineside.runtime.engines.tensorrt.machine import Machine

__all__ = ["bodies_only", "check"]

LEAST = 0.9999
"""Least cosine of every output, in FP32."""


def check(subject: Subject) -> Iterator[Finding]:
    """Builds the portable model with bodies alone, then with one operator after the other as a plugin."""
    names = subject.bundle.manifest.custom_ops
    with_kernels = [
        name for name in names if (op := find_device_op(name)) is not None and op.device_kernel(False) is not None
    ]
    if not with_kernels:
        yield unchecked("plugins", "no operator of this model has a plugin of ours")
        return
    if not subject.real:
        for name in with_kernels:
            yield unchecked(name, "the host device has no TensorRT; its kernel is held against its body below")
        return
    from lineside.runtime.engines.tensorrt.machine import open_machine

    machine = open_machine(subject.device)
    subject.say("building with the bodies of all operators")
    bodies = _outputs(subject, machine, ())
    for name in with_kernels:
        subject.say(f"building with {name} as a plugin")
        found = _outputs(subject, machine, (name,))
        least = min(cosine(one, other) for one, other in zip(found, bodies, strict=True))
        line = checked if least >= LEAST else failed  # NaN fails
        yield line(name, f"least cosine with the body's outputs {least:.7f}, at least {LEAST:g}", cosine=least)


def bodies_only(onnx: bytes, plugins: Collection[str], strip: bool) -> bytes:
    """A model in which only some operators ask for a plugin.

    A parser takes a plugin that it knows wherever a node names it, so the other nodes lose their names of plugins.

    Args:
        onnx: The bundle's model.
        plugins: Types of nodes that are to be plugins.
        strip: Whether their bodies must go, as for parsers that prefer bodies.
    """
    file = OnnxFile(onnx)
    file.change_nodes(lambda node: unnamed(node) if node.domain == DOMAIN and node.op_type not in plugins else node)
    if strip:
        file.drop_functions(DOMAIN, plugins)
    return file.to_bytes()


def _outputs(subject: Subject, machine: Machine, plugins: tuple[str, ...]) -> list[npt.NDArray[np.float32]]:
    """Raw outputs of the portable model for one input, with some operators as plugins; nothing is kept."""
    from lineside.runtime.cuda.runner import DeviceRunner
    from lineside.runtime.engines.tensorrt.builder import Job, build_plan
    from lineside.runtime.engines.tensorrt.library import version_of
    from lineside.runtime.engines.tensorrt.logs import open_log
    from lineside.runtime.engines.tensorrt.plugin import register_plugins
    from lineside.runtime.engines.tensorrt.profiles import profile_for
    from lineside.runtime.engines.tensorrt.running import TensorRTEngine, deserialise

    manifest, log = subject.bundle.manifest, open_log(machine.trt)
    ops = [op for name in plugins if (op := find_device_op(name)) is not None]
    register_plugins(machine.trt, ops, machine.device)
    onnx = bodies_only(subject.bundle.read(manifest.model), plugins, version_of(machine.trt) < PREFERS_PLUGINS)
    job = Job(onnx=onnx, input=manifest.input.name, profile=profile_for(manifest))
    with machine.device.current():
        plan = build_plan(machine.trt, log, job, lambda share, note: None).plan
        engine = TensorRTEngine(machine, deserialise(machine, log, plan), manifest, log)
    with closing(DeviceRunner([engine], manifest)) as runner:
        tensor = np.random.default_rng(0).random(manifest.input.shape, np.float32)
        return [output.copy() for output in runner.infer({manifest.input.name: tensor})]
