"""Small kernels of the tests: each tries one thing that kernels are made of."""

from __future__ import annotations

from pathlib import Path

from lineside.runtime.kernels.kernel import Kernel, Parameter

FOLDER = Path(__file__).parent / "kernels"


def _kernel(name: str, parameters: str, source: str = "") -> Kernel:
    """``parameters``: names, each followed by its C type in brackets for a pointer, or by ``:i`` or ``:f``."""
    found = []
    for word in parameters.split(";"):
        label, _, kind = word.strip().partition(":")
        if kind in ("i", "f"):
            found.append(Parameter(label, "int" if kind == "i" else "float"))
        else:
            found.append(Parameter(label, "pointer", kind))
    return Kernel(name, FOLDER / f"{source or name}.cu", tuple(found))


BLOCK_SUM = _kernel("block_sum", "in:const float*; out:float*; count:i; scale:f")
EARLY = _kernel("early", "out:int*; stay:i")
PLACES = _kernel("places", "out:int*; total:unsigned*")
WIDEN = _kernel("widen", "in:const half*; out:float*; back:half*; count:i", "halves")
NARROW = _kernel("narrow", "in:const float*; out:float*; back:half*; count:i", "halves")
WHOLE = _kernel("whole", "in:const float*; nearest:int*; down:int*; towards_zero:int*; count:i", "halves")
UNSET = _kernel("unset", "out:float*; beyond:i")
ROUNDED = _kernel("rounded", "a:const float*; b:const float*; c:const float*; plain:float*; fused:float*; count:i")
MEETING = _kernel("meeting", "place:unsigned*; blocks_meet:i; threads_meet:i")
