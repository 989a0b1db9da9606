"""Package data: models, datasets, stations and targets as YAML files."""
