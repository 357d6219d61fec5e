"""The one error tree. Every error has a stable `reason`; messages say what, where and what to do.

VcfragError
├── ConfigError              CONFIG              a setting makes no sense
├── ShapeError               SHAPE               bytes or arrays of the wrong size
├── RangeError               RANGE               sites, k or weights outside what is allowed
├── NotFiniteError           NOT_FINITE          NaN or infinity where a number is needed
├── InputError               INPUT               a file that cannot be used (path, record, sample)
│   ├── NotVcfError          NOT_VCF
│   ├── TruncatedFileError   TRUNCATED_FILE
│   ├── UnknownContigError   UNKNOWN_CONTIG
│   ├── EmptyInputError      EMPTY_INPUT         no record, or no sample
│   ├── UnphasedError        UNPHASED
│   ├── MissingAlleleError   MISSING_ALLELE
│   ├── DuplicateRecordError DUPLICATE_RECORD
│   ├── UnsortedError        UNSORTED
│   ├── PloidyError          PLOIDY
│   ├── GeneticMapError      GENETIC_MAP
│   ├── SampleTableError     SAMPLE_TABLE
│   ├── CacheError           CACHE
│   └── TargetError          TARGET              targets that do not fit the panel
├── IdentityError                                 two sides do not speak of the same thing
│   ├── PanelMismatchError   PANEL_MISMATCH
│   ├── SplitMismatchError   SPLIT_MISMATCH
│   ├── MaskMismatchError    MASK_MISMATCH
│   ├── MetricMismatchError  METRIC_MISMATCH
│   └── LayoutMismatchError  LAYOUT_MISMATCH
├── OutputError              OUTPUT              a file or folder that cannot be written
├── TooManyMissingError      TOO_MANY_MISSING
├── NoSampleError            NO_SAMPLE
├── UnknownSampleError       UNKNOWN_SAMPLE
├── HeldOutSampleError       HELD_OUT_SAMPLE
├── UnknownIndexError        UNKNOWN_INDEX
├── UnknownPanelError        UNKNOWN_PANEL
├── UnknownMaskError         UNKNOWN_MASK        a mask digest that was never uploaded
├── UnknownMetricError       UNKNOWN_METRIC      a metric digest that was never uploaded
├── ServiceError                                  the daemon cannot serve this now
│   ├── OverloadedError      OVERLOADED          retry helps
│   ├── OutOfBudgetError     OUT_OF_BUDGET       retry does not help
│   ├── DrainingError        DRAINING
│   ├── UnavailableError     UNAVAILABLE         not reachable, or its engine restarts
│   ├── DeadlineError        DEADLINE
│   ├── AuthenticationError  UNAUTHENTICATED
│   ├── NotPermittedError    PERMISSION
│   └── InternalError        INTERNAL            carries a request id; the daemon's log has the rest
├── ProvenanceMissingError   PROVENANCE_MISSING  an artefact that does not say what it was made from
├── ProvenanceMismatchError  PROVENANCE_MISMATCH an artefact made from something else
├── TrainingError            TRAINING            training cannot go on (a loss that is not finite)
└── ProgramError             PROGRAM             another program that was started failed
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar


class VcfragError(Exception):
    """Base of every error that vcfrag raises on purpose."""

    reason: ClassVar[str] = "VCFRAG"


class ConfigError(VcfragError):
    reason = "CONFIG"


class ShapeError(VcfragError):
    reason = "SHAPE"


class RangeError(VcfragError):
    reason = "RANGE"


class NotFiniteError(VcfragError):
    reason = "NOT_FINITE"


class InputError(VcfragError):
    """A file that cannot be used.

    Args:
        message: What is wrong and what to do about it.
        path: The file.
        record: Where in the file, such as `20:61098 C>T` or `line 7`.
        sample: The sample concerned.
    """

    reason = "INPUT"

    def __init__(
        self,
        message: str,
        *,
        path: str | Path | None = None,
        record: str | None = None,
        sample: str | None = None,
    ) -> None:
        where = [str(path)] if path is not None else []
        if record is not None:
            where.append(f"record {record}")
        if sample is not None:
            where.append(f"sample {sample}")
        super().__init__(f"{', '.join(where)}: {message}" if where else message)
        self.path = path
        self.record = record
        self.sample = sample


class NotVcfError(InputError):
    reason = "NOT_VCF"


class TruncatedFileError(InputError):
    reason = "TRUNCATED_FILE"


class UnknownContigError(InputError):
    reason = "UNKNOWN_CONTIG"


class EmptyInputError(InputError):
    reason = "EMPTY_INPUT"


class UnphasedError(InputError):
    reason = "UNPHASED"


class MissingAlleleError(InputError):
    reason = "MISSING_ALLELE"


class DuplicateRecordError(InputError):
    reason = "DUPLICATE_RECORD"


class UnsortedError(InputError):
    reason = "UNSORTED"


class PloidyError(InputError):
    reason = "PLOIDY"


class GeneticMapError(InputError):
    reason = "GENETIC_MAP"


class SampleTableError(InputError):
    reason = "SAMPLE_TABLE"


class CacheError(InputError):
    reason = "CACHE"


class TargetError(InputError):
    reason = "TARGET"


class IdentityError(VcfragError):
    """Two sides do not speak of the same panel, split, mask, metric or layout."""


class PanelMismatchError(IdentityError):
    reason = "PANEL_MISMATCH"


class SplitMismatchError(IdentityError):
    reason = "SPLIT_MISMATCH"


class MaskMismatchError(IdentityError):
    reason = "MASK_MISMATCH"


class MetricMismatchError(IdentityError):
    reason = "METRIC_MISMATCH"


class LayoutMismatchError(IdentityError):
    reason = "LAYOUT_MISMATCH"


class OutputError(VcfragError):
    reason = "OUTPUT"


class TooManyMissingError(VcfragError):
    reason = "TOO_MANY_MISSING"


class NoSampleError(VcfragError):
    reason = "NO_SAMPLE"


class UnknownSampleError(VcfragError):
    reason = "UNKNOWN_SAMPLE"


class HeldOutSampleError(VcfragError):
    reason = "HELD_OUT_SAMPLE"


class UnknownIndexError(VcfragError):
    reason = "UNKNOWN_INDEX"


class UnknownPanelError(VcfragError):
    reason = "UNKNOWN_PANEL"


class UnknownMaskError(VcfragError):
    reason = "UNKNOWN_MASK"


class UnknownMetricError(VcfragError):
    reason = "UNKNOWN_METRIC"


class ServiceError(VcfragError):
    """The daemon cannot serve this call."""


class OverloadedError(ServiceError):
    reason = "OVERLOADED"


class OutOfBudgetError(ServiceError):
    reason = "OUT_OF_BUDGET"


class DrainingError(ServiceError):
    reason = "DRAINING"


class UnavailableError(ServiceError):
    reason = "UNAVAILABLE"


class DeadlineError(ServiceError):
    reason = "DEADLINE"


class AuthenticationError(ServiceError):
    reason = "UNAUTHENTICATED"


class NotPermittedError(ServiceError):
    reason = "PERMISSION"


class InternalError(ServiceError):
    reason = "INTERNAL"


class ProvenanceMissingError(VcfragError):
    reason = "PROVENANCE_MISSING"


class ProvenanceMismatchError(VcfragError):
    reason = "PROVENANCE_MISMATCH"


class TrainingError(VcfragError):
    reason = "TRAINING"


class ProgramError(VcfragError):
    reason = "PROGRAM"
