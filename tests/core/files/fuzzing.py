"""Inputs that nobody wrote: real files of every kind, damaged at random, given to what reads them.

`python -m tests.core.files.fuzzing SEED COUNT FOLDER` reads COUNT such files in a process that may die of them. It ends
with 0 where every one got an answer or a typed refusal, and every answer of a VCF's text is what a slow reader says.
"""

from __future__ import annotations

import gzip
import random
import re
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import cyvcf2
import numpy as np

from tests.vcf_text import record, vcf_text
from vcfrag_core.errors import VcfragError
from vcfrag_core.files.panel.reader import read_panels
from vcfrag_core.files.tables.cohort import read_cohort
from vcfrag_core.files.tables.genetic_map import read_genetic_map
from vcfrag_core.files.tables.samples import read_sample_table
from vcfrag_core.files.tables.sexes import read_sexes
from vcfrag_core.files.tables.sites import read_typed_sites
from vcfrag_core.files.targets import read_target
from vcfrag_core.targets.calls import TargetCalls

MEMORY = 3 << 30
WORDS = [
    b"\t", b"\n", b" ", b"|", b"/", b".", b"#", b"##fileformat=VCFv4.2\n", b"0|1", b"./.", b"1|", b"|1", b"2/3", b"-1",
    b"99999999999", b"4294967296", b"0", b"nan", b"inf", b"1e400", b"\xff", b"\xe9", b"\0", b"\r\n", b"<DEL>", b"*",
    b",", b"GT:DS", b"20", b"chr20", b"X", b"A" * 300, b"0|" * 200,
]  # fmt: skip

Reader = Callable[[Path], object]


def seeds(folder: Path) -> list[tuple[str, bytes, Reader]]:
    """(name, content, reader) of whole files, by kind."""
    rng = random.Random(1)
    calls = ["0|0", "0|1", "1|0", "1|1", "0/0", "1/1", ".|.", "0/1"]
    lines = [record(100 * i + 100, [rng.choice(calls) for _ in range(4)], site_id=f"rs{i}") for i in range(12)]
    phased = [record(100 * i + 100, [rng.choice(calls[:4]) for _ in range(4)]) for i in range(12)]
    target, panel = vcf_text("ABCD", lines).encode(), vcf_text("ABCD", phased).encode()
    genetic_map = b"chr\tpos\tcM\n" + b"".join(b"20\t%d\t%.4f\n" % (1000 * i + 1, i * 0.001) for i in range(1, 20))
    return [
        ("target.vcf", target, read_target),
        ("target.vcf", target, read_target),
        ("target.vcf.gz", gzip.compress(target), read_target),
        ("target.bcf", _bcf(folder, target), read_target),
        ("panel.vcf", panel, read_panels),
        ("panel.bcf", _bcf(folder, panel), read_panels),
        ("set.bed", _bed(folder), read_target),
        ("set.bim", (folder / "seed.bim").read_bytes(), lambda path: read_target(path.with_suffix(".bed"))),
        ("set.fam", (folder / "seed.fam").read_bytes(), lambda path: read_target(path.with_suffix(".bed"))),
        ("any.map", genetic_map, lambda path: read_genetic_map(path, "20")),
        ("plink.map", b"20 . 0.1 1000\n20 . 0.2 2000\n20 . 0.4 3000\n", lambda path: read_genetic_map(path, "20")),
        ("samples.tsv", b"sample\tfamily\tpop\tsuper_pop\nA\tf1\tx\ty\nB\tf1\tx\ty\n", read_sample_table),
        ("sexes.tsv", b"A\tmale\nB\tfemale\nC\tmale\n", read_sexes),
        (
            "sites.tsv",
            b"chrom\tpos\tref\talt\n20\t100\tA\tC\n20\t200\tA\tC\n",
            lambda path: read_typed_sites(path, "20"),
        ),
        ("cohort.json", b'{"format": "vcfrag cohort 1", "contigs": [{"contig": "20"}]}', read_cohort),
    ]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """The content with one to four damages."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at, length = rng.randrange(len(data) + 1), rng.choice([1, 1, 2, 8, 40, 200])
        match rng.randrange(7):
            case 0:
                del data[at : at + length]
            case 1:
                data[at:at] = rng.choice(WORDS)
            case 2:
                data[at : at + length] = rng.choice(WORDS)
            case 3:
                data[at:at] = data[max(0, at - length) : at]
            case 4:
                data[at : at + length] = rng.randbytes(min(length, 8))
            case 5:
                del data[at:]
            case _:
                lines = bytes(data).split(b"\n")
                rng.shuffle(lines) if rng.random() < 0.1 else lines.insert(rng.randrange(len(lines)), rng.choice(lines))
                data = bytearray(b"\n".join(lines))
    return bytes(data)


def reference_of(content: bytes) -> list[tuple[int, bytes, tuple[bytes, ...], list[list[int]]]]:
    """Position, REF, ALT and the allele numbers of every record of a VCF's text, read the slow way."""
    rows = []
    for line in content.splitlines():
        if not line or line.startswith(b"#"):
            continue
        columns = line.split(b"\t")
        at = columns[8].split(b":").index(b"GT")
        cells = [cell.split(b":") for cell in columns[9:]]
        alleles = [re.split(rb"[|/]", cell[at] if at < len(cell) else b".") for cell in cells]
        numbers = [[-1 if a == b"." else int(a) for a in cell] for cell in alleles]
        alts = () if columns[4] == b"." else tuple(_capital(alt) for alt in columns[4].split(b","))
        rows.append((int(columns[1]), _capital(columns[3]), alts, numbers))
    return rows


def _capital(allele: bytes) -> bytes:
    """Bases in capitals; what is no sequence as it stands."""
    return allele.upper() if allele.isalpha() else allele


def differences(contigs: list[TargetCalls], content: bytes) -> list[str]:
    """Where the answer is not what the slow reader says."""
    rows = reference_of(content)
    there = [
        (int(p), r.encode(), tuple(a.encode() for a in alts), alleles)
        for c in contigs
        for p, r, alts, alleles in zip(c.positions, c.refs, c.alts, c.alleles, strict=True)
    ]
    if len(rows) != len(there):
        return [f"{len(there)} records, not {len(rows)}"]
    found = []
    for (pos, ref, alts, calls), (own_pos, own_ref, own_alts, alleles) in zip(rows, there, strict=True):
        if (pos, ref, alts) != (own_pos, own_ref, own_alts):
            found.append(f"{own_pos} {own_ref!r} {own_alts!r}, not {pos} {ref!r} {alts!r}")
        for call, own in zip(calls, alleles.tolist(), strict=True):
            whole = len(call) == 2 and min(call) >= 0 and max(call) <= 126
            if whole and call != own:
                found.append(f"{own_pos}: {own}, not {call}")
    return found


def one(number: int, kinds: list[tuple[str, bytes, Reader]], seed: int, folder: Path) -> str | None:
    """Reads a damaged file; what is wrong with how that ended, or None."""
    rng = random.Random(f"{seed} {number}")
    name, content, read = kinds[number % len(kinds)]
    given = damaged(content, rng)
    path = folder / name
    path.write_bytes(given)
    (folder / "last").write_text(f"{seed} {number} {name}")
    try:
        answer = read(path)
        wrong = differences(answer, given) if name == "target.vcf" and isinstance(answer, list) else []
    except VcfragError as error:
        wrong = [] if str(error) and error.reason else ["a refusal without words"]
    except Exception:  # noqa: BLE001 -- whatever else is raised is what is looked for
        wrong = [traceback.format_exc()]
    return f"{seed} {number} {name}: {wrong}" if wrong else None


def _bcf(folder: Path, text: bytes) -> bytes:
    (folder / "seed.vcf").write_bytes(text)
    source = cyvcf2.VCF(str(folder / "seed.vcf"))
    writer = cyvcf2.Writer(str(folder / "seed.bcf"), source, mode="wb")
    for variant in source:
        writer.write_record(variant)
    writer.close()
    source.close()
    return (folder / "seed.bcf").read_bytes()


def _bed(folder: Path) -> bytes:
    codes = np.random.default_rng(1).choice([0, 2, 3], (12, 4)).astype(np.uint8)
    rows = (codes << np.array([0, 2, 4, 6], dtype=np.uint8)).sum(axis=1, dtype=np.uint8).tobytes()
    tables = {
        "bed": b"\x6c\x1b\x01" + rows,
        "bim": b"".join(b"20\trs%d\t0\t%d\tC\tA\n" % (i, 100 * i + 100) for i in range(12)),
        "fam": b"".join(b"%c %c 0 0 1 -9\n" % (name, name) for name in b"ABCD"),
    }
    for kind, content in tables.items():
        (folder / f"set.{kind}").write_bytes(content)
        (folder / f"seed.{kind}").write_bytes(content)
    return tables["bed"]


def main(seed: int, count: int, folder: Path) -> int:
    """Reads `count` files; the number of those that ended wrongly."""
    kinds = seeds(folder)
    wholes = {file: file.read_bytes() for file in folder.glob("set.*")}
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
    wrong = 0
    for number in range(count):
        if (said := one(number, kinds, seed, folder)) is not None:
            print(said)
            wrong += 1
        for file, whole in wholes.items():
            file.write_bytes(whole)
    return wrong


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])), 100))
