"""Rules about functions as TensorRT calls them, and about the plugins that can take the place of ours."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.doctor.graph_view import Place, attribute
from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject
from lineside.export.ops.op import DOMAIN

__all__ = ["RULES"]

OWN = ("ModDeformConv2d",)
"""Operators of ours for which TensorRT's own plugin is taken: they need none of ours."""


def _ours(subject: GraphSubject) -> Iterator[Place]:
    return (it for it in subject.view.places if it.domain == DOMAIN)


def _hit(subject: GraphSubject, place: Place) -> Hit:
    return Hit(place.where, {"op": place.node.op_type, "target": f"{subject.target.runtime} {subject.target.version}"})


def _behind(subject: GraphSubject) -> Iterator[Hit]:
    for place in _ours(subject) if "function-before-plugin" in subject.target.lacks else ():
        if subject.view.called(place.node) is not None:
            yield _hit(subject, place)


def _unnamed(subject: GraphSubject) -> Iterator[Hit]:
    for place in _ours(subject):
        if subject.view.called(place.node) is not None and attribute(place.node, "plugin_namespace") != DOMAIN:
            yield _hit(subject, place)


def _needs_python(subject: GraphSubject) -> Iterator[Hit]:
    for place in _ours(subject) if "plugin-needs-python" in subject.target.lacks else ():
        if place.node.op_type.partition("_")[0] not in OWN:
            yield _hit(subject, place)


def _left_out(subject: GraphSubject) -> Iterator[Hit]:
    """Calls of a function that leave inputs of it out."""
    for place in subject.view.places if "function-inputs" in subject.target.lacks else ():
        function = subject.view.called(place.node)
        if function is not None and (len(place.node.input) < len(function.input) or "" in place.node.input):
            yield _hit(subject, place)


RULES = (
    Rule(
        id="function-inputs",
        looks_at="graph",
        severity="cannot-run",
        find=_left_out,
        reason="a node of {op} leaves out an input that is optional, as the standard admits for functions, and the parser of {target} "
        "refuses it",
        remedy="export it again, which gives every input; functions of others have to be called with all of them, or inlined "
        "(onnx.inliner)",
    ),
    Rule(
        id="function-before-plugin",
        looks_at="graph",
        severity="note",
        find=_behind,
        reason="{op} is a function in the file, and {target} runs the function even where a plugin of that name is there",
        remedy="build with `lineside build`, which takes the functions out where it has the plugin; other builders run the body, "
        "which is right and slow",
    ),
    Rule(
        id="plugin-not-named",
        looks_at="graph",
        severity="fallback",
        find=_unnamed,
        reason="{op} lacks the attribute plugin_namespace, so that the parser of {target} runs its body and asks for no plugin",
        remedy="export it again: every node of ours carries plugin_namespace and plugin_version",
        runtimes=("tensorrt",),
    ),
    Rule(
        id="plugin-needs-python",
        looks_at="graph",
        severity="note",
        find=_needs_python,
        reason="the plugin of {op} is Python on {target}: a plan that holds its kernel (`lineside build --standalone`) needs "
        "TensorRT 10.9",
        remedy="nothing needs to be done where Lineside runs the plan; for trtexec and C++ build with --no-plugins, or with "
        "TensorRT 10.9 or newer",
    ),
)
"""Rules about plugins."""
