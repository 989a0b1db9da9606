"""Rules about versions of the file."""

from __future__ import annotations

from collections.abc import Iterator

from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject

__all__ = ["RULES"]


def _used(subject: GraphSubject) -> int:
    """Newest opset of the default domain in the graph and its functions."""
    imports = [entry for function in subject.view.model.functions for entry in function.opset_import]
    inside = [int(entry.version) for entry in imports if entry.domain in ("", "ai.onnx")]
    return max([subject.view.opsets.get("", 0), *inside])


def _opset(subject: GraphSubject) -> Iterator[Hit]:
    used = _used(subject)
    if 0 < subject.target.opset < used:
        yield Hit("opset", _details(subject, used, subject.target.opset))


def _undocumented(subject: GraphSubject) -> Iterator[Hit]:
    used = _used(subject)
    if 0 < subject.target.documented_opset < used:
        yield Hit("opset", _details(subject, used, subject.target.documented_opset))


def _file_format(subject: GraphSubject) -> Iterator[Hit]:
    used = subject.view.model.ir_version
    if 0 < subject.target.ir_version < used:
        yield Hit("IR version", _details(subject, used, subject.target.ir_version))


def _details(subject: GraphSubject, used: int, newest: int) -> dict[str, object]:
    return {"used": used, "newest": newest, "target": f"{subject.target.runtime} {subject.target.version}"}


RULES = (
    Rule(
        id="opset-too-new",
        looks_at="graph",
        severity="cannot-run",
        find=_opset,
        reason="the graph has opset {used}, and {target} loads up to {newest}",
        remedy="export it again with opset 18, or upgrade the target",
    ),
    Rule(
        id="undocumented-opset",
        looks_at="graph",
        severity="note",
        find=_undocumented,
        reason="the graph has opset {used}; the documents of {target} go up to {newest}, and its parser takes newer ones without a "
        "word and reads their operators as it knows them",
        remedy="export it again with opset 18",
    ),
    Rule(
        id="file-format-too-new",
        looks_at="graph",
        severity="cannot-run",
        find=_file_format,
        reason="the file has IR version {used}, and {target} loads up to {newest}",
        remedy="export it again with an older onnx, or set ir_version to 8 where no newer element types are used",
    ),
)
"""Rules about versions."""
