"""What is decided once for a cohort: given this record, a sample's imputation depends on that sample alone."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import zlib
from collections.abc import Iterable, Mapping

import numpy as np

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import RangeError
from vcfrag_core.genome.contigs import contig_alias
from vcfrag_core.panel import bits as bit
from vcfrag_core.targets.records import Reason, TargetRecords
from vcfrag_core.targets.sites.matching import Matching
from vcfrag_core.types import BoolArray


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """A target record that was not used just as it was."""

    contig: str
    position: int
    ref: str
    alt: str
    reason: Reason


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class ContigDecisions:
    """What is decided for one contig.

    Attributes:
        contig: Its name in the panel; with first and last site where it has several stretches of unlike ploidy.
        panel: Digest of the panel.
        genetic_map: Digest of the genetic map.
        parameters: Retrieval and copying.
        typed: (V,) sites that count as typed, whoever has a call there.
        verdicts: Records of the cohort that were not used just as they were.
        people: Panel samples that a target sample does not copy from, by its name; the best match first.
        rates: What the rates of copying were estimated from; empty where they were given.
        tested: Samples by which the typed sites were tested.
        model: What the model did for these targets, and under `used` whether it corrects; empty where there is none.
        target_reference: Of the targets that serve as references when others are phased how many they are (`samples`),
            and the `digest` of what the file beside the record holds of them; empty where nobody serves.
    """

    contig: str
    panel: str
    genetic_map: str
    parameters: CopyingParameters
    typed: BoolArray
    verdicts: tuple[Verdict, ...] = ()
    people: Mapping[str, tuple[str, ...]] = dataclasses.field(default_factory=dict)
    rates: Mapping[str, object] = dataclasses.field(default_factory=dict)
    tested: tuple[str, ...] = ()
    model: Mapping[str, object] = dataclasses.field(default_factory=dict)
    target_reference: Mapping[str, object] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class CohortRecord:
    """The decisions of all contigs.

    Attributes:
        version: Of vcfrag, which made them.
        contigs: One entry each.
        qc: The QC table that was written with it, seen from its folder, where that had a name of its own.
    """

    version: str
    contigs: tuple[ContigDecisions, ...]
    qc: str = ""

    def of(self, contig: str) -> ContigDecisions | None:
        """The decisions of a contig, by its name in the panel; None where there are none."""
        return next((decided for decided in self.contigs if decided.contig == contig), None)


def apply_verdicts(records: TargetRecords, matching: Matching, listed: Iterable[Verdict]) -> Matching:
    """The matching with others' verdicts: what they drop is dropped, what they repaired is repaired, all else stays.

    Records are found by contig (with or without `chr`), position, REF and ALT.
    """
    wanted = {
        (e.position, e.ref, e.alt): e.reason for e in listed if contig_alias(e.contig, [records.contig]) is not None
    }
    repairing = {
        (Reason.SWAPPED, Reason.SWAP_REPAIRED),
        (Reason.FLIPPED, Reason.FLIP_REPAIRED),
        (Reason.FLIPPED_SWAPPED, Reason.BOTH_REPAIRED),
    }
    changed: dict[int, Reason] = {}
    turned: list[int] = []
    for i, own in enumerate(matching.reasons):
        verdict = _verdict(records, i, wanted)
        if verdict is None or verdict is own:
            continue
        if (own, verdict) in repairing:
            changed[i] = verdict
        elif verdict is Reason.TURNED and own.is_used and bool(matching.either_strand[i]):
            turned.append(i)
        elif own.is_used and not verdict.is_used:
            kept = verdict in (Reason.INVERTED, Reason.CONTRADICTED, Reason.NO_CALLS, Reason.AMBIGUOUS)
            changed[i] = verdict if kept else Reason.LISTED
    return matching.turn(turned).with_reasons(changed)


def _verdict(records: TargetRecords, record: int, wanted: Mapping[tuple[int, str, str], Reason]) -> Reason | None:
    """What is said of a record; of one without REF under either order of its alleles."""
    position, ref, alt = int(records.positions[record]), records.refs[record], ",".join(records.alts[record]) or "."
    found = wanted.get((position, ref, alt))
    return found if found is not None or bool(records.ref_is_known[record]) else wanted.get((position, alt, ref))


def encode_sites(sites: BoolArray) -> str:
    """(V,) flags as text: their number, and their bits compressed."""
    packed = zlib.compress(bit.pack(sites).tobytes(), 9)
    return f"{len(sites)}:{base64.b64encode(packed).decode('ascii')}"


def decode_sites(text: str) -> BoolArray:
    """What `encode_sites` was given.

    Raises:
        RangeError: Something else.
    """
    number, _, packed = text.partition(":")
    try:
        n = int(number)
        bits = np.frombuffer(zlib.decompress(base64.b64decode(packed, validate=True)), dtype=np.uint8)
    except (ValueError, binascii.Error, zlib.error) as error:
        raise RangeError(f"{text[:40]!r} is no set of sites: {error}") from error
    if n < 0 or len(bits) != bit.n_bytes(n):
        raise RangeError(f"{text[:40]!r} is no set of sites: {len(bits)} bytes for {n}")
    return bit.unpack(bits, 0, n).astype(np.bool_)


def beyond(matching: Matching, typed: BoolArray) -> dict[int, Reason]:
    """Used records at sites that do not count as typed."""
    used = matching.used()
    return dict.fromkeys(used[~typed[matching.sites[used]]].tolist(), Reason.LISTED)
