"""Looks at a model before any long work and says what a target makes of it: `lineside.export.doctor.examine`."""
