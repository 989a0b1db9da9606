"""What lies beside every plan: what it was built from, with what, and for which machine.

A plan runs on one version of TensorRT and one kind of GPU, and TensorRT's own refusal does not say why. The file beside
it does, before TensorRT is asked.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from lineside.runtime.engines.tensorrt.audit import Audit
from lineside.runtime.engines.tensorrt.profiles import Profile
from lineside.runtime.errors import EngineFailed
from lineside.runtime.plain import indented

__all__ = ["SCHEMA", "Precision", "Sidecar", "Wanted", "decode_sidecar", "differences", "encode_sidecar"]

SCHEMA = 1

Precision = Literal["fp32", "fp16", "int8"]
Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]


class Sidecar(msgspec.Struct, frozen=True, kw_only=True):
    """The whole of ``engines/….json``.

    Attributes:
        schema: Version of this layout.
        tensorrt: Version of TensorRT.
        sm: Compute capability of the GPU, such as ``87``.
        gpu: Its name, for people; another GPU of the same capability may run the plan.
        platform: System and processor.
        precision: Arithmetic of the model.
        variant: Name of the bundle's variant; empty for its portable model.
        onnx_sha256: Hash of the ONNX file in the bundle.
        kernels: Fingerprint of the kernel of each operator of ours that is a plugin, by its name.
        profile: Sizes of the input.
        standalone: Whether the plan runs without Python: it has no plugins, or they are compiled into it.
        workspace: Limit of the workspace that was asked for, in MiB; None for none.
        plan_sha256: Hash of the plan.
        seconds: What the build took.
        built: ISO 8601 time, UTC, when it was built or last asked for: the newest that fits is what runs.
        audit: What the plan's layers say of their precision.
    """

    schema: Literal[1] = 1
    tensorrt: str
    sm: str
    gpu: str
    platform: str
    precision: Precision
    variant: str
    onnx_sha256: Sha256
    kernels: dict[str, str]
    profile: Profile
    standalone: bool
    workspace: int | None
    plan_sha256: Sha256
    seconds: float
    built: str
    audit: Audit


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine and this bundle need of a plan.

    Attributes:
        tensorrt: As in `Sidecar`, and so are the others.
        sm: As there.
        platform: As there.
        onnx: Hash of each model of the bundle that TensorRT may run, by precision.
        kernels: Fingerprints of the operators that this Lineside has, by name.
        shape: Input that it must take, ``(batch, 3, h, w)``.
    """

    tensorrt: str
    sm: str
    platform: str
    onnx: dict[str, str]
    kernels: dict[str, str]
    shape: tuple[int, int, int, int]


def decode_sidecar(data: bytes, where: str) -> Sidecar:
    """Reads a sidecar.

    Args:
        data: Content of the file.
        where: Its path, for the message.

    Raises:
        EngineFailed: It is none, or of another layout.
    """
    try:
        return msgspec.json.decode(data, type=Sidecar)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EngineFailed(f"{where} does not say what the engine beside it is ({error}): build it again") from error


def encode_sidecar(sidecar: Sidecar) -> bytes:
    """The sidecar as indented JSON with a closing line break."""
    return indented(sidecar)


def differences(sidecar: Sidecar, wanted: Wanted) -> list[str]:
    """What keeps a plan from being used here, one clause for each field that differs; empty where nothing does.

    Args:
        sidecar: What the plan is.
        wanted: What is needed.
    """
    pairs = [
        ("TensorRT", wanted.tensorrt, sidecar.tensorrt),
        ("compute capability", wanted.sm, sidecar.sm),
        ("platform", wanted.platform, sidecar.platform),
        (
            f"{sidecar.precision} model",
            _short(wanted.onnx.get(sidecar.precision, "none")),
            _short(sidecar.onnx_sha256),
        ),
    ]
    found = [f"{what}: yours {yours}, the engine's {its}" for what, yours, its in pairs if yours != its]
    for name, its in sorted(sidecar.kernels.items()):
        yours = wanted.kernels.get(name, "none")
        if yours != its and not sidecar.standalone:  # what is compiled into a plan does not change with Lineside
            found.append(f"kernel of {name}: yours {_short(yours)}, the engine's {_short(its)}")
    if not sidecar.profile.takes(wanted.shape):
        found.append(f"input size: yours {'x'.join(map(str, wanted.shape))}, the engine's {sidecar.profile}")
    return found


def _short(digest: str) -> str:
    return f"{digest[:12]}…" if len(digest) == 64 else digest
