"""Rules about forms of operators that a target knows and still refuses, or reads otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from lineside.export.doctor.graph_view import Place, attribute
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]

COORDINATES = ("half_pixel", "pytorch_half_pixel", "tf_half_pixel_for_nn", "asymmetric", "align_corners")
"""Rules of Resize for where a pixel lies that TensorRT has."""

RENAMED = 20
"""Opset in which the modes of GridSample got other names."""


def _hit(subject: GraphSubject, place: Place, **details: object) -> Hit:
    target = f"{subject.target.runtime} {subject.target.version}"
    return Hit(place.where, {"op": place.node.op_type, "target": target} | details)


def _where(rule: str, *kinds: str) -> Callable[[GraphSubject], Iterator[Place]]:
    """Nodes of some operators of the default domain, where the target has the lack that a rule looks for."""

    def places(subject: GraphSubject) -> Iterator[Place]:
        if rule in subject.target.lacks:
            yield from (it for it in subject.view.places if it.node.op_type in kinds and not it.domain)

    return places


def _resizing(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("resize-form", "Resize")(subject):
        node = place.node
        form = {
            "antialias": attribute(node, "antialias", 0) != 0,
            str(attribute(node, "coordinate_transformation_mode")): attribute(
                node, "coordinate_transformation_mode", "half_pixel"
            )
            not in COORDINATES,
            "keep_aspect_ratio_policy": attribute(node, "keep_aspect_ratio_policy", "stretch") != "stretch",
        }
        for name, refused in form.items():
            if refused:
                yield _hit(subject, place, form=name)


def _dilated(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("dilated-pooling", "MaxPool", "AveragePool", "LpPool")(subject):
        if any(step != 1 for step in attribute(place.node, "dilations") or ()):  # type: ignore[attr-defined]
            yield _hit(subject, place)


def _reducing(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("scatter-reduction", "ScatterND")(subject):
        if attribute(place.node, "reduction", "none") != "none":
            yield _hit(subject, place, reduction=attribute(place.node, "reduction"))


def _more(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("more-outputs", "MaxPool", "LayerNormalization")(subject):
        if any(place.node.output[1:]):
            yield _hit(subject, place)


def _deformed(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("deform-form", "DeformConv")(subject):
        pads = list(attribute(place.node, "pads") or ())  # type: ignore[call-overload]
        shape = subject.view.shape(place.node.input[0]) if place.function is None and place.node.input else None
        if pads[: len(pads) // 2] != pads[len(pads) // 2 :]:
            yield _hit(subject, place, form="pads that differ before and behind")
        elif shape is not None and len(shape) > 4:
            yield _hit(subject, place, form="volumes")


def _computed(subject: GraphSubject) -> Iterator[Hit]:
    """Inputs that must be constants and come out of the graph's inputs."""
    view = subject.view
    for place in view.top:
        for index in () if place.domain else subject.target.constant_inputs.get(place.node.op_type, ()):
            name = place.node.input[index] if index < len(place.node.input) else ""
            if name and _depends(subject, name):
                yield _hit(subject, place, name=name)


def _depends(subject: GraphSubject, name: str) -> bool:
    """Whether a tensor is computed from the values of an input; shapes are folded where they are fixed."""
    view = subject.view
    inputs = {value.name for value in view.model.graph.input} - set(view.initializers)
    waiting, seen = [name], {name}
    while waiting:
        current = waiting.pop()
        if current in inputs:
            return True
        producer = view.producers.get(current)
        if producer is None or producer.node.op_type in ("Shape", "Size"):
            continue
        fresh = [it for it in producer.node.input if it and it not in seen]
        seen.update(fresh)
        waiting += fresh
    return False


def _counted(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("rows-by-content", "NonMaxSuppression", "NonZero")(subject):
        yield _hit(subject, place)


def _renamed(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("sampled-by-nearest", "GridSample")(subject):
        mode = attribute(place.node, "mode", "linear")
        if subject.opset(place) >= RENAMED and mode != "nearest":
            yield _hit(subject, place, mode=mode)


def _summed(subject: GraphSubject) -> Iterator[Hit]:
    for place in _where("einsum-form", "Einsum")(subject):
        terms = str(attribute(place.node, "equation", "")).replace(" ", "").split("->")[0].split(",")
        twice = any(len(set(term.replace(".", ""))) < len(term.replace(".", "")) for term in terms)
        if twice or any("..." in term for term in terms):
            yield _hit(subject, place, form="a letter twice in one term" if twice else "an ellipsis")


RULES = (
    Rule(
        id="resize-form",
        looks_at="graph",
        severity="cannot-run",
        find=_resizing,
        reason="{op} with {form}, which {target} does not have",
        remedy="resize with mode nearest or linear, coordinates half_pixel, asymmetric or align_corners, and none of the rest",
    ),
    Rule(
        id="dilated-pooling",
        looks_at="graph",
        severity="cannot-run",
        find=_dilated,
        reason="{op} has dilations, and {target} pools without",
        remedy="pool over slices with a step, or with a larger window",
    ),
    Rule(
        id="scatter-reduction",
        looks_at="graph",
        severity="cannot-run",
        find=_reducing,
        reason="{op} has the reduction {reduction}, and {target} scatters without one",
        remedy="use ScatterElements, which has reductions there, or a matrix product with a mask",
    ),
    Rule(
        id="more-outputs",
        looks_at="graph",
        severity="cannot-run",
        find=_more,
        reason="{op} gives more than its result (places, means), and {target} gives the result alone",
        remedy="leave the other outputs out, or compute them by operators of their own",
    ),
    Rule(
        id="deform-form",
        looks_at="graph",
        severity="cannot-run",
        find=_deformed,
        reason="{op} with {form}: the plugin of {target} behind it has pictures with the same pads on both sides only",
        remedy="export with --deform portable, which samples with GridSample",
    ),
    Rule(
        id="computed-axes",
        looks_at="graph",
        severity="cannot-run",
        find=_computed,
        reason="{op} takes {name} from what the graph computes, and {target} wants it known when the engine is built",
        remedy="write the axis down as a constant",
    ),
    Rule(
        id="rows-by-content",
        looks_at="graph",
        severity="slow",
        find=_counted,
        reason="how many rows {op} gives depends on the picture: {target} has to wait for the number in the middle, and no CUDA "
        "graph can hold it",
        remedy="export it again without NMS in the graph: the runtime's own runs on the GPU and is part of the graph",
    ),
    Rule(
        id="sampled-by-nearest",
        looks_at="graph",
        severity="cannot-run",
        find=_renamed,
        reason="opset 20 calls the mode of {op} {mode}; the parser of {target} knows the older names and samples the nearest pixel "
        "without a word",
        remedy="export it again with opset 18, which calls it bilinear",
    ),
    Rule(
        id="einsum-form",
        looks_at="graph",
        severity="cannot-run",
        find=_summed,
        reason="{op} with {form}, which TensorRT has since 10.12, and this is {target}",
        remedy="write all letters out, each once in a term, or upgrade TensorRT",
    ),
)
"""Rules about forms of operators."""
