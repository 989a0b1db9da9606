"""Every error a user of Lineside can meet, as one tree.

::

    LinesideError                 exit code 2 unless said otherwise
    ├── BundleError               the bundle on disk is not usable
    │   ├── NotABundle            nothing there, or no readable manifest
    │   ├── SchemaTooNew          written by a newer Lineside
    │   ├── BundleDamaged         a file is missing, altered or extra
    │   └── ContractMismatch      the model's tensors do not fit its contract
    ├── EngineError               the model cannot be executed
    │   ├── EngineUnavailable     the engine or its library is not there, or too old
    │   └── EngineFailed          the engine refused to run
    │       ├── PlanRefused       TensorRT does not read an engine that fits by all that is known of it
    │       └── DeviceLost        the device has stopped working until it is opened again
    ├── BadFrame                  a picture of the wrong dtype, shape or size
    ├── BadOption                 a threshold or option outside its range
    ├── NonFiniteOutput           the model produced NaN or infinity
    ├── SourceError               pictures, a video or a camera cannot be read
    ├── SinkError                 results cannot be written
    ├── StationError              a station file says something that cannot be meant
    ├── DatasetError              a data set is broken
    ├── WeightsError              weights cannot be loaded, or hold an unknown model
    ├── ExportError               the model cannot be turned into a bundle
    ├── MissingPackage            an optional dependency is not installed
    └── CheckFailed               a check ran and said no (exit code 1)

Each message says what happened, why, and what to do about it.
"""

from __future__ import annotations

__all__ = [
    "BadFrame",
    "BadOption",
    "BundleDamaged",
    "BundleError",
    "CheckFailed",
    "ContractMismatch",
    "DatasetError",
    "DeviceLost",
    "EngineError",
    "EngineFailed",
    "EngineUnavailable",
    "ExportError",
    "LinesideError",
    "MissingPackage",
    "NonFiniteOutput",
    "NotABundle",
    "PlanRefused",
    "SchemaTooNew",
    "SinkError",
    "SourceError",
    "StationError",
    "WeightsError",
]


class LinesideError(Exception):
    """Base of every error that Lineside raises on purpose.

    Attributes:
        exit_code: What a command exits with when this error ends it.
    """

    exit_code = 2


class BundleError(LinesideError):
    """The bundle on disk is not usable."""


class NotABundle(BundleError):
    """The path holds no readable bundle."""


class SchemaTooNew(BundleError):
    """The bundle was written by a newer Lineside."""


class BundleDamaged(BundleError):
    """A file of the bundle is missing, altered or was never part of it."""


class ContractMismatch(BundleError):
    """The model's tensors do not fit the contract that goes with them."""


class EngineError(LinesideError):
    """The model cannot be executed."""


class EngineUnavailable(EngineError):
    """The engine, or the library behind it, is not there or too old."""


class EngineFailed(EngineError):
    """The engine refused to run the model."""


class PlanRefused(EngineFailed):
    """TensorRT does not read an engine that was built, although everything known of it fits."""


class DeviceLost(EngineFailed):
    """The device has stopped working; nothing on it works again before the bundle is loaded anew."""


class BadFrame(LinesideError, ValueError):
    """A picture has the wrong dtype, shape or size."""


class BadOption(LinesideError, ValueError):
    """An option lies outside its range."""


class NonFiniteOutput(LinesideError, ArithmeticError):
    """The model produced NaN or infinity among its candidates."""


class SourceError(LinesideError):
    """Pictures, a video or a camera cannot be read."""


class SinkError(LinesideError):
    """Results cannot be written."""


class StationError(LinesideError):
    """A station file is no such file, or says something that cannot be meant."""


class DatasetError(LinesideError):
    """A data set is broken."""


class WeightsError(LinesideError):
    """Weights cannot be loaded, or hold a model that is not known here."""


class ExportError(LinesideError):
    """The model cannot be turned into a bundle."""


class MissingPackage(LinesideError, ImportError):
    """An optional dependency is not installed."""


class CheckFailed(LinesideError):
    """A check ran to its end and said no."""

    exit_code = 1
