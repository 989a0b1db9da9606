"""Rules about files: what a pickle names, what lies beside an ONNX, what a bundle asks for."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lineside.export.doctor.rule import Hit, Rule
from lineside.export.doctor.subject import GraphSubject, ManifestSubject, WeightsSubject

__all__ = ["RULES"]


def _hostile(subject: WeightsSubject) -> Iterator[Hit]:
    return (Hit(str(path)) for path in subject.hostile)


def _missing(subject: WeightsSubject) -> Iterator[Hit]:
    for name in subject.missing:
        yield Hit(name, {"given": subject.given})


def _refused(subject: WeightsSubject) -> Iterator[Hit]:
    for path in subject.foreign if subject.safe else ():
        if path not in subject.hostile:
            yield Hit(str(path))


def _foreign(subject: WeightsSubject) -> Iterator[Hit]:
    missing = {*subject.missing, *map(str, subject.hostile)}
    for path in () if subject.safe else subject.foreign:
        if str(path) not in missing:
            yield Hit(str(path))


def _external(subject: GraphSubject) -> Iterator[Hit]:
    return (Hit(name) for name, there in subject.external if there)


def _lost(subject: GraphSubject) -> Iterator[Hit]:
    return (Hit(name) for name, there in subject.external if not there)


def _too_old(subject: ManifestSubject) -> Iterator[Hit]:
    needed = subject.manifest.min_onnxruntime
    if tuple(map(int, re.findall("[0-9]+", needed))) > subject.target.numbers:
        yield Hit("min_onnxruntime", {"needed": needed, "version": subject.target.version})


def _other_engines(subject: ManifestSubject) -> Iterator[Hit]:
    for name, variant in subject.manifest.variants.items():
        if subject.target.runtime not in variant.engines:
            yield Hit(f"variants: {name}", {"engines": ", ".join(variant.engines)})


RULES = (
    Rule(
        id="hostile-pickle",
        looks_at="weights",
        severity="will-not-export",
        find=_hostile,
        reason="the pickle names what no model needs and what could do anything to this computer; nothing of it was run, and no "
        "command loads it",
        remedy="do not use this file; ask whoever made it for the weights alone",
    ),
    Rule(
        id="missing-blocks",
        looks_at="weights",
        severity="will-not-export",
        find=_missing,
        reason="the model is made of blocks that are nowhere here; {given}",
        remedy="give the file or package that defines them with --modules",
    ),
    Rule(
        id="refused-by-safe",
        looks_at="weights",
        severity="will-not-export",
        find=_refused,
        reason="the pickle names classes beside those of torch, ultralytics and --modules, and --safe runs no code of it",
        remedy="give the file that defines them with --modules, export the .safetensors copy that lies beside what "
        "`lineside train` wrote, or leave --safe out if you trust whoever made the weights",
    ),
    Rule(
        id="foreign-classes",
        looks_at="weights",
        severity="note",
        find=_foreign,
        reason="the pickle names classes beside those of torch and ultralytics: loading it runs their code",
        remedy="load only files that you trust, or use --safe together with --modules",
    ),
    Rule(
        id="weights-lost",
        looks_at="graph",
        severity="cannot-run",
        find=_lost,
        reason="the model keeps its weights in a file that is not beside it",
        remedy="copy that file there as well",
    ),
    Rule(
        id="external-data",
        looks_at="graph",
        severity="note",
        find=_external,
        reason="the model keeps weights in a file beside it: onnxruntime finds them only while both lie together",
        remedy="`lineside import` puts both into one file",
    ),
    Rule(
        id="bundle-too-new",
        looks_at="manifest",
        severity="cannot-run",
        find=_too_old,
        reason="the bundle asks for onnxruntime {needed} or newer, and the target is {version}",
        remedy="upgrade onnxruntime on the target; a bundle with DeformConv can be exported again with --deform portable",
        runtimes=("onnxruntime",),
    ),
    Rule(
        id="variant-of-others",
        looks_at="manifest",
        severity="note",
        find=_other_engines,
        reason="this variant is meant for {engines}; the target runs the portable model",
        remedy="nothing needs to be done",
    ),
)
"""Rules about files."""
