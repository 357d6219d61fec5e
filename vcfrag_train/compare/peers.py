"""Beagle and Minimac4 on the same files, by default and at a fixed setting, measured.

Beagle 5.4 (Browning et al., Am J Hum Genet 103:338, 2018) and Minimac4 (Das et al., Nat Genet 48:1284, 2016) are
run as separate programs when they are on the PATH. Both always get the genetic map, the same number of threads and
the same input; what has to be converted for them first is counted apart.
"""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from vcfrag_core.errors import ConfigError, ProgramError
from vcfrag_core.panel.genetic_map import GeneticMap
from vcfrag_train.compare.usage import Usage, run_measured


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """A program with its settings.

    Attributes:
        name: Label in tables, such as `beagle-fixed`, the setting that was best with 2,304 samples of 1000 Genomes.
        program: `beagle` or `minimac4`, as it is found on the PATH.
        options: Further arguments of the imputation step.
        phaser: `shapeit4` where it phases the targets first.
    """

    name: str
    program: str
    options: tuple[str, ...] = ()
    phaser: str | None = None

    @property
    def programs(self) -> tuple[str, ...]:
        """All that it runs."""
        return (self.program,) if self.phaser is None else (self.phaser, self.program)


PEERS: Final = (
    Peer(name="beagle", program="beagle"),
    Peer(name="beagle-fixed", program="beagle", options=("ne=500000", "cluster=0.0001", "err=0.001")),
    Peer(name="minimac4", program="minimac4"),
    Peer(name="minimac4-fixed", program="minimac4", options=("--match-error", "0.001")),
)

# Of targets without phase. SHAPEIT4 (Delaneau et al., Nat Commun 10:5436, 2019) phases for Minimac4, which cannot.
UNPHASED_PEERS: Final = (
    *PEERS[:2],
    Peer(name="shapeit4-minimac4", program="minimac4", phaser="shapeit4"),
    Peer(name="shapeit4-minimac4-fixed", program="minimac4", phaser="shapeit4", options=("--match-error", "0.001")),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PeerInput:
    """The files that every program gets.

    Attributes:
        panel: Reference panel without the targets, VCF or BCF.
        target: Targets at the typed sites, bgzipped VCF or BCF; phased unless the peer phases.
        genetic_map: The map of the panel's contig.
    """

    panel: Path
    target: Path
    genetic_map: GeneticMap


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class PeerRun:
    """One finished run.

    Attributes:
        name: Label of the peer.
        output: Its imputed VCF.
        preparation: Conversion of the panel to the program's own input; none where it reads it directly.
        imputation: The run itself.
    """

    name: str
    output: Path
    preparation: tuple[Usage, ...]
    imputation: Usage

    @property
    def wall_seconds(self) -> float:
        """Seconds of the imputation step."""
        return self.imputation.wall_seconds

    @property
    def preparation_seconds(self) -> float:
        return sum(step.wall_seconds for step in self.preparation)

    @property
    def peak_bytes(self) -> int:
        return max(step.peak_bytes for step in (*self.preparation, self.imputation))


def available_peers(peers: Sequence[Peer] = PEERS) -> tuple[tuple[Peer, ...], tuple[str, ...]]:
    """The peers whose programs are on the PATH, and the names of the programs that are not."""
    found = tuple(peer for peer in peers if all(shutil.which(program) for program in peer.programs))
    wanted = {program for peer in peers for program in peer.programs}
    missing = {program for program in wanted if not shutil.which(program)}
    return found, tuple(sorted(missing))


def run_peer(peer: Peer, files: PeerInput, output: Path, *, threads: int = 2, heap_mb: int = 4096) -> PeerRun:
    """Runs one peer in a temporary folder beside `output` and moves its result there.

    Args:
        peer: What to run.
        files: The panel, targets and map.
        output: Where the imputed `.vcf.gz` goes; its index is written beside it.
        threads: Threads of the program.
        heap_mb: Most megabytes of Java's heap (Beagle only).

    Raises:
        ConfigError: The program is none of those known.
        ProgramError: It is not on the PATH, or ended with an error. What it printed is in `NAME.log` beside `output`.
    """
    for program in peer.programs:
        if shutil.which(program) is None:
            raise ProgramError(f"{program} is not on the PATH")
    if peer.program not in _RUNNERS:
        raise ConfigError(f"no way to run {peer.program!r}; known: {', '.join(sorted(_RUNNERS))}")
    output.parent.mkdir(parents=True, exist_ok=True)
    log = output.parent / f"{peer.name}.log"
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{peer.name}-", dir=output.parent) as folder:
        job = _Job(peer, files, Path(folder), log, threads, heap_mb)
        try:
            result, preparation, imputation = _RUNNERS[peer.program](job)
        except ProgramError as error:
            raise ProgramError(f"{error}\nthe whole log is in {log}") from error
        result.replace(output)
    run_index(output)
    return PeerRun(name=peer.name, output=output, preparation=preparation, imputation=imputation)


def run_index(path: Path) -> None:
    """Indexes a bgzipped VCF or a BCF with bcftools (`.csi` beside it)."""
    with tempfile.TemporaryDirectory() as folder:
        run_measured(["bcftools", "index", "-f", path], log=Path(folder) / "log")


@dataclasses.dataclass(frozen=True, slots=True)
class _Job:
    peer: Peer
    files: PeerInput
    folder: Path
    log: Path
    threads: int
    heap_mb: int


_Outcome = tuple[Path, tuple[Usage, ...], Usage]


def _run_beagle(job: _Job) -> _Outcome:
    panel, preparation = _as_vcf_gz(job, job.files.panel, "panel")
    target, more = _as_vcf_gz(job, job.files.target, "target")
    map_file = job.folder / "map.plink"
    write_plink_map(job.files.genetic_map, map_file)
    usage = run_measured(
        [
            "beagle",
            f"ref={panel}",
            f"gt={target}",
            f"map={map_file}",
            f"out={job.folder / 'imputed'}",
            f"nthreads={job.threads}",
            "gp=true",
            *job.peer.options,
        ],
        log=job.log,
        # The Debian wrapper passes no options to Java; this variable is the way that every wrapper lets through.
        environment={"JAVA_TOOL_OPTIONS": f"-Xmx{job.heap_mb}m"},
    )
    return job.folder / "imputed.vcf.gz", preparation + more, usage


def _run_minimac4(job: _Job) -> _Outcome:
    panel = job.folder / "panel.msav"
    compress = run_measured(
        ["minimac4", "--compress-reference", job.files.panel, "-o", panel, "--threads", str(job.threads)], log=job.log
    )
    map_file = job.folder / "map.tsv"
    write_minimac_map(job.files.genetic_map, map_file)
    target, phasing = (job.files.target, None) if job.peer.phaser is None else _phase_by_shapeit4(job)
    output = job.folder / "imputed.vcf.gz"
    usage = run_measured(
        [
            "minimac4",
            panel,
            _indexed(job, target),
            "--map",
            map_file,
            "--output",
            output,
            "--output-format",
            "vcf.gz",
            "--format",
            "GT,DS,HDS,GP",
            "--threads",
            str(job.threads),
            *job.peer.options,
        ],
        log=job.log,
    )
    return output, (compress,), usage if phasing is None else phasing.then(usage)


def _phase_by_shapeit4(job: _Job) -> tuple[Path, Usage]:
    """The targets phased, and what that took."""
    map_file, phased = job.folder / "map.gmap", job.folder / "phased.vcf.gz"
    write_shapeit_map(job.files.genetic_map, map_file)
    usage = run_measured(
        [
            "shapeit4",
            "--input",
            _indexed(job, job.files.target),
            "--reference",
            _indexed(job, job.files.panel),
            "--map",
            map_file,
            "--region",
            job.files.genetic_map.contig,
            "--output",
            phased,
            "--thread",
            str(job.threads),
            "--seed",
            "1",
        ],
        log=job.log,
    )
    run_index(phased)
    return phased, usage


_RUNNERS: Final[dict[str, Callable[[_Job], _Outcome]]] = {"beagle": _run_beagle, "minimac4": _run_minimac4}


def _as_vcf_gz(job: _Job, path: Path, name: str) -> tuple[Path, tuple[Usage, ...]]:
    if path.name.endswith(".vcf.gz"):
        return path, ()
    converted = job.folder / f"{name}.vcf.gz"
    return converted, (run_measured(["bcftools", "view", "-Oz", "-o", converted, path], log=job.log),)


def _indexed(job: _Job, path: Path) -> Path:
    if any(path.with_name(path.name + suffix).exists() for suffix in (".csi", ".tbi")):
        return path
    copy = job.folder / (path.name if path.name.endswith((".vcf.gz", ".bcf")) else f"{path.name}.vcf.gz")
    if copy.name == path.name:
        shutil.copy(path, copy)
    else:
        run_measured(["bcftools", "view", "-Oz", "-o", copy, path], log=job.log)
    run_measured(["bcftools", "index", "-f", copy], log=job.log)
    return copy


def write_plink_map(genetic_map: GeneticMap, path: Path) -> None:
    """Beagle's map: contig, identifier, cM, position."""
    lines = (f"{genetic_map.contig}\t.\t{cm:.9g}\t{pos}\n" for pos, cm in _points(genetic_map))
    path.write_text("".join(lines))


def write_minimac_map(genetic_map: GeneticMap, path: Path) -> None:
    """Minimac4's map: a header line with two tabs, then contig, position, cM."""
    lines = (f"{genetic_map.contig}\t{pos}\t{cm:.9g}\n" for pos, cm in _points(genetic_map))
    path.write_text("#chr\tpos\tcM\n" + "".join(lines))


def write_shapeit_map(genetic_map: GeneticMap, path: Path) -> None:
    """SHAPEIT4's map: a header line, then position, contig, cM."""
    lines = (f"{pos}\t{genetic_map.contig}\t{cm:.9g}\n" for pos, cm in _points(genetic_map))
    path.write_text("pos\tchr\tcM\n" + "".join(lines))


def without_phase(target: Path, output: Path) -> None:
    """The same targets with their phase thrown away: alleles sorted, `/` between them."""
    log = output.with_name("unphased.log")
    run_measured(["bcftools", "+setGT", target, "-Oz", "-o", output, "--", "-t", "a", "-n", "u"], log=log)
    run_index(output)


def _points(genetic_map: GeneticMap) -> zip[tuple[int, float]]:
    return zip(genetic_map.positions.tolist(), genetic_map.cm.tolist(), strict=True)
