"""The manifest of a job: what was decided for the cohort, and the chunks in which it is imputed. One JSON file.

Beside it lies a folder with the targets in the panel's coding, one pair of files for each stretch (a contig, or a part
of one), and with the chunks that are done.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from vcfrag_core.copying.parameters import CopyingParameters
from vcfrag_core.errors import ConfigError, InputError, ProvenanceMismatchError, RangeError
from vcfrag_core.files.atomic import atomic_path
from vcfrag_core.files.names import PLACE
from vcfrag_core.files.outputs import BgenValues, OutputFormat, PgenValues, stem_of
from vcfrag_core.files.panel.calls import MissingRule
from vcfrag_core.files.parts import scratch_path
from vcfrag_core.hashing import text_digest
from vcfrag_core.settings import from_table, to_table

KIND: Final = "vcfrag manifest 1"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A contig, or a part of one along which nobody's ploidy changes.

    Attributes:
        contig: Its name in the panel.
        panel: The panel's file.
        region: What is read of it; all without one.
        panel_digest: Digest of what was read.
        map: The genetic map's file; None without one.
        map_digest: Digest of the map.
        map_state: Size and time of change of its file; None without one.
        parameters: Retrieval and copying.
        copying_only: Whether no model corrects it.
        verdict: How a model does: keywords of `Imputer.judged`; none by copying alone.
        method: Parameters and model in one line, for the header.
        ploidy: Of all samples, as `Ploidy` writes it.
        n_haplotypes: Panel haplotypes.
        n_sites: Panel sites.
        n_typed: Typed ones.
        n_written: Those that go to the output, where no estimated r² keeps them from it.
        n_unphased: Samples whose phase is not known; the chunks phase them, each along the whole stretch.
        n_draws: Draws of the phase of each of them that are imputed; 0 where there is nobody.
        n_windows: Windows over the sites.
        contig_length: Base pairs, where known.
        groups: Exclusion groups of panel samples.
        lines: KEY and VALUE of the header's lines of this stretch.
        targets: Digest of the files with the targets.
        target_reference: Digest of the targets that serve as references when others are phased; "" where nobody does.
    """

    contig: str
    panel: str
    region: str | None
    panel_digest: str
    map: str | None
    map_digest: str
    map_state: tuple[int, int] | None
    parameters: CopyingParameters
    copying_only: bool
    method: str
    ploidy: str
    n_haplotypes: int
    n_sites: int
    n_typed: int
    n_written: int
    n_unphased: int
    n_draws: int
    n_windows: int
    contig_length: int | None
    groups: Mapping[str, str]
    lines: tuple[tuple[str, str], ...]
    targets: str
    target_reference: str = ""
    verdict: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Some windows of a stretch for some samples.

    Attributes:
        number: Which it is, from 0.
        stretch: Number of the stretch.
        windows: First window, and the one after the last.
        samples: First sample, and the one after the last.
        memory_bytes: What it is expected to need.
        seconds: What it is expected to take on one thread.
        rows: Whether its samples' cells are kept as the output has them, as in all chunks of its stretch, or dosages.
    """

    number: int
    stretch: int
    windows: tuple[int, int]
    samples: tuple[int, int]
    memory_bytes: int
    seconds: float
    rows: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Manifest:
    """A job.

    Attributes:
        version: Of vcfrag, which planned it.
        command: The command line, for the header.
        out: The output; `{contig}` in its name stands for one file a contig.
        qc: The QC table; its summary lies beside it.
        output: What is written of a genotype.
        min_r2: Least estimated r² of imputed sites that are written.
        checkpoint: Run folder of a trained model; None for the one that ships.
        panel_missing: What missing alleles of the panel are taken for.
        sites_per_piece: Sites that are in memory at once when chunks are joined.
        samples: S names.
        inputs: Files that were read, and how each was before, as `input_states` has them.
        stretches: In the output's order.
        chunks: All of them.
    """

    version: str
    command: str
    out: str
    qc: str
    output: OutputFormat
    min_r2: float | None
    checkpoint: str | None
    panel_missing: MissingRule
    sites_per_piece: int
    samples: tuple[str, ...]
    inputs: Mapping[str, tuple[int, int, int]]
    stretches: tuple[Stretch, ...]
    chunks: tuple[Chunk, ...]

    @functools.cached_property
    def decisions(self) -> str:
        """Digest of everything but chunks and files: what the output follows from."""
        content = _content(self)
        del content["chunks"], content["inputs"]
        return text_digest("job", json.dumps(content, sort_keys=True))

    def chunk(self, number: int) -> Chunk:
        """The chunk of that number.

        Raises:
            RangeError: There is none.
        """
        if not 0 <= number < len(self.chunks):
            last = len(self.chunks) - 1
            there = f"chunks 0 to {last}" if last else "one chunk, 0"
            raise RangeError(f"the manifest has {there}; there is no chunk {number}")
        return self.chunks[number]


def write_manifest(manifest: Manifest, path: Path) -> None:
    """Writes it, whole or not at all."""
    with atomic_path(path) as temporary:
        content = {"kind": KIND, "digest": _digest(_content(manifest)), **_content(manifest)}
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_manifest(path: Path) -> Manifest:
    """The manifest of a file.

    Raises:
        InputError: No such file, or it holds something else, or part of it, or was changed after it was written.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", path=path) from error
    except ValueError as error:
        raise InputError(f"not a manifest: {error}", path=path) from error
    if not isinstance(content, dict) or content.pop("kind", None) != KIND:
        raise InputError(f"not a manifest: its `kind` must be {KIND!r}; `vcfrag plan` writes one", path=path)
    if content.pop("digest", None) != _digest(content):
        raise InputError("the manifest is not as `vcfrag plan` wrote it; plan again with what is wanted", path=path)
    try:
        return _manifest(content)
    except (KeyError, TypeError, ValueError, ConfigError, RangeError) as error:
        what = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InputError(f"not a manifest: {what}", path=path) from error


def job_folder(path: Path) -> Path:
    """The folder that goes with a manifest."""
    return path.with_name(f"{path.name.removesuffix('.json')}.job")


def default_manifest(out: Path, scratch: Path | None = None) -> Path:
    """Where a manifest is written unless told: beside the output, or in the folder of temporary files."""
    return scratch_path(out, f"{stem_of(out)}.manifest.json", scratch)


def _digest(content: Mapping[str, Any]) -> str:
    return text_digest("plan", json.dumps(content, sort_keys=True))


def _content(manifest: Manifest) -> dict[str, Any]:
    content = {field.name: getattr(manifest, field.name) for field in dataclasses.fields(manifest)}
    content["output"] = dataclasses.asdict(manifest.output)
    content["stretches"] = [
        {**dataclasses.asdict(stretch), "parameters": to_table(stretch.parameters)} for stretch in manifest.stretches
    ]
    content["chunks"] = [dataclasses.asdict(chunk) for chunk in manifest.chunks]
    return content


def _manifest(content: dict[str, Any]) -> Manifest:
    output = content.pop("output")
    return Manifest(
        **{
            **content,
            "output": OutputFormat(
                formats=tuple(output["formats"]),
                bgen=BgenValues(output["bgen"]),
                bgen_bits=output["bgen_bits"],
                pgen=PgenValues(output["pgen"]),
                x_male_dosage=output["x_male_dosage"],
            ),
            "panel_missing": MissingRule(content["panel_missing"]),
            "samples": tuple(content["samples"]),
            "inputs": {name: tuple(state) for name, state in content["inputs"].items()},
            "stretches": tuple(_stretch(entry) for entry in content["stretches"]),
            "chunks": tuple(
                Chunk(**{**entry, "windows": tuple(entry["windows"]), "samples": tuple(entry["samples"])})
                for entry in content["chunks"]
            ),
        }
    )


def _stretch(entry: dict[str, Any]) -> Stretch:
    parameters = from_table(CopyingParameters, entry["parameters"], base=Path(), where="parameters")
    lines = tuple((str(key), str(value)) for key, value in entry["lines"])
    state = None if entry["map_state"] is None else tuple(entry["map_state"])
    return Stretch(**{**entry, "parameters": parameters, "lines": lines, "map_state": state})


def output_of(manifest: Manifest, contig: str) -> Path:
    """The output that a contig goes to."""
    plain = contig.removeprefix("chr")
    return Path(manifest.out.replace(f"chr{PLACE}", f"chr{plain}").replace(PLACE, contig))


def contigs_of(manifest: Manifest, path: Path) -> list[str]:
    """The contigs of an output, in its order."""
    return list(dict.fromkeys(s.contig for s in manifest.stretches if output_of(manifest, s.contig) == path))


def is_of_everybody(manifest: Manifest, chunk: Chunk) -> bool:
    """Whether a chunk is of all samples; it then keeps windows as the output has them."""
    return chunk.samples == (0, len(manifest.samples))


def require_same(what: str, where: str, planned: str, found: str) -> None:
    """Refuses what is not what the job was planned with.

    Raises:
        ProvenanceMismatchError: It is not.
    """
    if planned != found:
        raise ProvenanceMismatchError(f"the {what} {where} is not what the job was planned with; plan again")
