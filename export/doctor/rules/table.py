"""All rules there are."""

from __future__ import annotations

from importlib import import_module

from lineside.export.doctor.rule import Rule

__all__ = ["GROUPS", "all_rules"]

GROUPS = {
    "packaging": "lineside.export.doctor.rules.packaging:RULES",
    "heads": "lineside.export.doctor.rules.heads:RULES",
    "modules": "lineside.export.doctor.rules.modules:RULES",
    "structure": "lineside.export.doctor.rules.structure:RULES",
    "versions": "lineside.export.doctor.rules.versions:RULES",
    "outputs": "lineside.export.doctor.rules.outputs:RULES",
    "functions": "lineside.export.doctor.rules.functions:RULES",
    "operators": "lineside.export.doctor.rules.operators:RULES",
    "sampling": "lineside.export.doctor.rules.sampling:RULES",
    "scans": "lineside.export.doctor.rules.scans:RULES",
    "precision": "lineside.export.doctor.rules.precision:RULES",
    "forms": "lineside.export.doctor.rules.forms:RULES",
    "quantisation": "lineside.export.doctor.rules.quantisation:RULES",
    "restrictions": "lineside.export.doctor.rules.restrictions:RULES",
    "plugins": "lineside.export.doctor.rules.plugins:RULES",
}
"""Groups of rules, in the order in which they are applied."""


def all_rules() -> tuple[Rule, ...]:
    """The rules of all groups."""
    rules: list[Rule] = []
    for target in GROUPS.values():
        module, _, attribute = target.partition(":")
        rules += getattr(import_module(module), attribute)
    return tuple(rules)
