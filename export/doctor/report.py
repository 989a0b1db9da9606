"""What an examination comes to."""

from __future__ import annotations

import msgspec

from lineside.export.doctor.rule import BLOCKING, SEVERITIES, Finding, Severity

__all__ = ["Report"]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What a target makes of a model.

    Attributes:
        model: What was examined.
        kind: ``weights``, ``onnx`` or ``bundle``.
        target: Name of the target.
        version: Version of the target's program.
        findings: What the rules found, the worst first.
        nodes: Nodes of the graph, bodies and functions included; 0 where there was no graph to look at.
        runs: Whether the target runs it.
    """

    model: str
    kind: str
    target: str
    version: str
    findings: tuple[Finding, ...]
    nodes: int
    runs: bool

    @classmethod
    def of(cls, model: str, kind: str, target: str, version: str, findings: list[Finding], nodes: int = 0) -> Report:
        """A report with its findings in order, and its verdict."""
        ordered = tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))
        runs = not any(finding.severity in BLOCKING for finding in findings)
        return cls(model=model, kind=kind, target=target, version=version, findings=ordered, nodes=nodes, runs=runs)

    def count(self, severity: Severity) -> int:
        """Findings of that severity."""
        return sum(finding.severity == severity for finding in self.findings)
