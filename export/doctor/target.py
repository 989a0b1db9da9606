"""What a target can run: a file of ``configs/targets``, written by ``scripts/target_facts.py`` or ``tensorrt_facts.py``."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import msgspec
import yaml

from lineside.runtime.errors import BadOption

__all__ = ["Kernel", "Target", "find_target", "target_names"]

FOLDER = "lineside.configs"


class Kernel(msgspec.Struct, frozen=True, array_like=True):
    """One implementation of an operator.

    Attributes:
        first: First opset that it serves.
        last: Last opset that it serves; 0 where nothing has followed yet.
        types: Element types that each type parameter of the operator may have, such as ``{"T": ("float",)}``.
    """

    first: int
    last: int
    types: dict[str, tuple[str, ...]]

    def serves(self, since: int) -> bool:
        """Whether it is taken for an operator whose definition is as old as this opset.

        onnxruntime takes a kernel without a last opset only for the very definition that it was written for.
        """
        return self.first == since or (self.first < since <= self.last)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What runs a model.

    Attributes:
        name: What ``--target`` says.
        runtime: Which program it is, without its version.
        version: Its version.
        opset: Newest opset of the default domain that it loads; 0 where it does not look at that.
        ir_version: Newest version of the file format that it loads; 0 where it does not look at that.
        functions: Runs model-local functions.
        scan_in_function: Runs a Scan inside one.
        function_opsets: Reads the nodes of such a function in the opsets that the function names, as the standard has it; not
            so an engine that puts them into the main graph and reads them in the opsets of the model.
        unknown_operators: Loads operators that it does not know, without a function.
        half_arithmetic: Runs float16 graphs.
        grid_sample_5d: Runs GridSample on volumes.
        grid_sample_over_gather: Time of GridSample over that of gathering, weighing and adding up its four pixels by
            other operators, on one thread of an x86-64 processor; a good kernel is below one.
        kernels: Implementations by domain and operator.
        documented_opset: Newest opset that its documents speak of, where it loads any; 0 otherwise.
        standard_bodies: Runs the body that the standard gives an operator in the place of a kernel that it lacks.
        constant_inputs: Places of inputs that must be constants, by operator.
        lacks: What it does not do or does in its own way: the rule that looks for it, and how that is known.
    """

    name: str
    runtime: str
    version: str
    opset: int
    ir_version: int
    functions: bool
    scan_in_function: bool
    function_opsets: bool
    unknown_operators: bool
    half_arithmetic: bool
    grid_sample_5d: bool
    grid_sample_over_gather: float
    kernels: dict[str, dict[str, tuple[Kernel, ...]]]
    documented_opset: int = 0
    standard_bodies: bool = True
    constant_inputs: dict[str, tuple[int, ...]] = {}
    lacks: dict[str, str] = {}

    def find_kernels(self, domain: str, op: str, since: int) -> tuple[Kernel, ...]:
        """Implementations of an operator whose definition is as old as this opset."""
        return tuple(kernel for kernel in self.kernels.get(domain, {}).get(op, ()) if kernel.serves(since))

    @property
    def numbers(self) -> tuple[int, ...]:
        """The version as numbers that can be compared."""
        return tuple(int(part) for part in re.findall("[0-9]+", self.version))


def target_names() -> tuple[str, ...]:
    """Names of all targets."""
    folder = resources.files(FOLDER).joinpath("targets")
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


@functools.cache
def find_target(name: str) -> Target:
    """The target of that name.

    Args:
        name: One of `target_names`; a dash before the version and its last part do not count, so that
            ``onnxruntime-1.23.2`` is ``onnxruntime1.23``.

    Raises:
        BadOption: There is no such target.
    """
    known = target_names()
    wanted = name.replace("-", "")
    found = next((it for it in known if it == wanted), None)
    if found is None:
        shorter = re.fullmatch(r"(\D+\d+\.\d+)\.\d+", wanted)
        found = next((it for it in known if shorter and it == shorter[1]), None)
    if found is None:
        raise BadOption(f"--target {name[:40]}: there is no such target; known are {', '.join(known)}")
    text = resources.files(FOLDER).joinpath("targets", f"{found}.yaml").read_text("utf-8")
    # libyaml reads these long tables seven times faster, where it is there.
    content: Mapping[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return msgspec.convert(content, Target)
