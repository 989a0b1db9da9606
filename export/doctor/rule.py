"""What a rule is: where it looks, what it finds, and why that matters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

__all__ = ["BLOCKING", "SEVERITIES", "Finding", "Hit", "LooksAt", "Rule", "Severity", "apply"]

Severity = Literal["cannot-run", "will-not-export", "custom-op", "fallback", "slow", "note"]

SEVERITIES: tuple[Severity, ...] = ("cannot-run", "will-not-export", "custom-op", "fallback", "slow", "note")
"""From worst to least: the target cannot run it; no bundle comes out; a node of ours; a body in place of a kernel; slow."""

BLOCKING: tuple[Severity, ...] = ("cannot-run", "will-not-export")
"""With one of these the target does not run the model."""

LooksAt = Literal["weights", "module", "structure", "graph", "manifest"]


@dataclass(frozen=True)
class Hit:
    """One place that a rule applies to.

    Attributes:
        where: Module path, node, file or field.
        details: What the texts of the rule name in braces; the details of the first place are shown.
    """

    where: str
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Rule:
    """One thing to look for.

    Attributes:
        id: Name, for people and for ``--json``.
        looks_at: What it is shown: the weights file, the torch model, the ONNX graph (``structure``: before any other rule
            walks through it) or the manifest of a bundle.
        severity: How bad it is.
        find: Yields every place that it applies to; gets the subject of `lineside.export.doctor.subject` that
            belongs to `looks_at`.
        reason: Why that matters; ``{name}`` stands for a detail.
        remedy: What to do.
        runtimes: Programs that it is true for, as `Target.runtime` names them; all where empty.
    """

    id: str
    looks_at: LooksAt
    severity: Severity
    find: Callable[[Any], Iterable[Hit]]
    reason: str
    remedy: str
    runtimes: tuple[str, ...] = ()


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a rule found.

    Attributes:
        rule: Its id.
        severity: How bad it is.
        where: Every place.
        reason: Why it matters.
        remedy: What to do.
    """

    rule: str
    severity: Severity
    where: tuple[str, ...]
    reason: str
    remedy: str


def apply(rules: Iterable[Rule], looks_at: LooksAt, subject: Any, runtime: str) -> list[Finding]:
    """Applies the rules that look at one kind of subject.

    Args:
        rules: All rules.
        looks_at: Kind of the subject.
        subject: What they look at.
        runtime: Program of the target.

    Returns:
        One finding per rule and wording, with all its places.
    """
    found: list[Finding] = []
    for rule in rules:
        if rule.looks_at != looks_at or (rule.runtimes and runtime not in rule.runtimes):
            continue
        places: dict[tuple[str, str], dict[str, None]] = {}
        for hit in rule.find(subject):
            texts = rule.reason.format(**hit.details), rule.remedy.format(**hit.details)
            places.setdefault(texts, {})[hit.where] = None
        found += [
            Finding(rule=rule.id, severity=rule.severity, where=tuple(where), reason=reason, remedy=remedy)
            for (reason, remedy), where in places.items()
        ]
    return found
