"""The rules of ``lineside doctor``, one file per group; every group is a tuple of `lineside.export.doctor.rule.Rule`."""
