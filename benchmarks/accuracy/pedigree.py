"""A generated pedigree: are targets whom the panel holds told from its relatives of theirs?

    python -m benchmarks.accuracy.pedigree [--families 250] [--contigs 2] [--seed 3]

Founders are msprime's, from one population; each family has four children, who are the targets. The panel holds one
child in five again, every second mother, a further sibling of every third family, a niece of every fourth, and
strangers. One allele in a thousand is wrong, on both sides. Prints how often each true relation was told as which.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import math
from collections.abc import Mapping
from typing import Final

import msprime
import numpy as np

from vcfrag_core.panel.panel import Panel
from vcfrag_core.panel.ploidy import Ploidy
from vcfrag_core.targets.likeness import Likeness, Relation, total_likeness
from vcfrag_core.targets.people import likest_samples
from vcfrag_core.types import F64Array, I8Array

POPULATION: Final = 10_000
BLOCK_CM: Final = 20
BLOCKS: Final = 5
SITES_PER_CM: Final = 100
LEAST_FREQUENCY: Final = 0.05
WRONG_ALLELES: Final = 1e-3
CHILDREN: Final = 4
STRANGERS: Final = 60
# What a panel sample is to a target, by its name's first letter.
SAME, MOTHER, SIBLING, NIECE, STRANGER = "the same person", "mother", "sibling", "niece", "stranger"


@dataclasses.dataclass(frozen=True, slots=True)
class Contig:
    """Founders' (H, V) alleles and the (V,) positions of the sites in cM."""

    alleles: I8Array
    cm: F64Array


def founders(n_samples: int, seed: int) -> Contig:
    """A contig of 100 cM, in blocks that were generated apart."""
    parts = [_block(n_samples, seed + 1 + block) for block in range(BLOCKS)]
    cm = np.concatenate([part.cm + BLOCK_CM * i for i, part in enumerate(parts)])
    return Contig(np.concatenate([part.alleles for part in parts], axis=1), cm)


def _block(n_samples: int, seed: int) -> Contig:
    trees = msprime.sim_ancestry(
        n_samples,
        population_size=POPULATION,
        sequence_length=BLOCK_CM * 1e6,
        recombination_rate=1e-8,
        random_seed=seed,
    )
    trees = msprime.sim_mutations(trees, rate=4e-9, model=msprime.BinaryMutationModel(), random_seed=seed)
    alleles = np.minimum(trees.genotype_matrix(), 1).astype(np.int8)
    frequency = alleles.mean(axis=1)
    common = np.flatnonzero((frequency > LEAST_FREQUENCY) & (frequency < 1 - LEAST_FREQUENCY))
    some = common[:: max(1, len(common) // (BLOCK_CM * SITES_PER_CM))]
    return Contig(alleles[some].T, trees.tables.sites.position[some] / 1e6)


class Pedigree:
    """Families on one contig."""

    def __init__(self, contig: Contig, rng: np.random.Generator) -> None:
        self._contig = contig
        self._rng = rng
        n_families = len(contig.alleles) // 4
        self.mothers = [contig.alleles[4 * i : 4 * i + 2] for i in range(n_families)]
        fathers = [contig.alleles[4 * i + 2 : 4 * i + 4] for i in range(n_families)]
        couples = list(zip(self.mothers, fathers, strict=True))
        self.children = [self._child(mother, father) for mother, father in couples for _ in range(CHILDREN)]
        self.siblings = [self._child(mother, father) for mother, father in couples]

    def panel(self) -> dict[str, I8Array]:
        """(2, V) alleles of the panel's samples, by their names."""
        rng, alleles = self._rng, self._contig.alleles
        held = {f"D{i}": child for i, child in enumerate(self.children) if i % 5 == 0}
        for i, (mother, sibling) in enumerate(zip(self.mothers, self.siblings, strict=True)):
            if i % 2 == 0:
                held[f"M{i}"] = mother
            if i % 3 == 0:
                held[f"S{i}"] = sibling
            if i % 4 == 1:
                held[f"N{i}"] = np.stack([self._gamete(sibling), alleles[(4 * i + 8) % len(alleles)]])
        held |= {f"U{i}": alleles[rng.integers(len(alleles), size=2)] for i in range(STRANGERS)}
        return {name: self._measured(given) for name, given in held.items()}

    def targets(self) -> I8Array:
        """(2 S, V) alleles of the children as they were measured."""
        return np.concatenate([self._measured(child) for child in self.children])

    def _child(self, mother: I8Array, father: I8Array) -> I8Array:
        return np.stack([self._gamete(mother), self._gamete(father)])

    def _gamete(self, parent: I8Array) -> I8Array:
        """(V,) alleles of one haplotype, by Haldane's map function."""
        cm = self._contig.cm
        crossed = self._rng.random(len(cm)) < (1 - np.exp(-2 * np.diff(cm, prepend=cm[0]) / 100)) / 2
        side = (self._rng.integers(2) + np.cumsum(crossed)) % 2
        return np.where(side == 0, parent[0], parent[1])

    def _measured(self, alleles: I8Array) -> I8Array:
        return np.asarray(alleles ^ (self._rng.random(alleles.shape) < WRONG_ALLELES), dtype=np.int8)


def found_pairs(n_families: int, n_contigs: int, seed: int) -> list[Likeness]:
    """Pairs that were compared, over all contigs."""
    rng = np.random.default_rng(seed)
    found: list[Likeness] = []
    names = [str(1 + i) for i in range(n_contigs)]
    for i, name in enumerate(names):
        contig = founders(2 * n_families, 1000 * seed + 10 * i)
        pedigree = Pedigree(contig, rng)
        held = pedigree.panel()
        panel = Panel.from_haplotypes(
            np.concatenate(list(held.values())).astype(np.uint8),
            samples=tuple(held),
            positions=np.round(contig.cm * 1e6).astype(np.int64),
            contig=name,
        )
        targets = tuple(f"T{k}" for k in range(len(pedigree.children)))
        everywhere = np.ones(len(contig.cm), dtype=np.bool_)
        ploidy = Ploidy.diploid(len(targets))
        found += likest_samples(targets, pedigree.targets(), everywhere, panel, contig.cm, ploidy)
    return total_likeness(found, names)


def true_relation(target: str, panel_sample: str) -> str:
    """What a panel sample is to a target, by their names."""
    child, kind, number = int(target[1:]), panel_sample[0], int(panel_sample[1:])
    family = child // CHILDREN
    if kind == "D":
        return SAME if number == child else SIBLING if number // CHILDREN == family else STRANGER
    if number != family:
        return STRANGER
    return {"M": MOTHER, "S": SIBLING, "N": NIECE}.get(kind, STRANGER)


def table(pairs: list[Likeness]) -> Mapping[tuple[str, Relation], int]:
    """How often each true relation was told as which."""
    return collections.Counter((true_relation(pair.sample, pair.panel_sample), pair.relation) for pair in pairs)


def interval(n: int, of: int) -> tuple[float, float]:
    """A share's interval of 95 % (Wilson's)."""
    z = 1.96
    centre = (n + z**2 / 2) / (of + z**2)
    half = z / (of + z**2) * math.sqrt(n * (of - n) / of + z**2 / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def main() -> None:
    """Prints the table, and the two shares that matter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--families", type=int, default=250)
    parser.add_argument("--contigs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=3)
    options = parser.parse_args()
    counts = table(found_pairs(options.families, options.contigs, options.seed))
    for (truth, told), n in sorted(counts.items()):
        print(f"{truth} told as {told.value}: {n}")
    n_again = -(-CHILDREN * options.families // 5)
    again = counts[SAME, Relation.SAME]
    wrong = sum(n for (truth, told), n in counts.items() if truth != SAME and told is Relation.SAME)
    others = sum(n for (truth, _), n in counts.items() if truth != SAME)
    for what, n, of in (("told to be the same person", again, n_again), ("others told to be", wrong, others)):
        low, high = interval(n, of)
        print(f"{what}: {n} of {of} [{low:.2%}, {high:.2%}]")


if __name__ == "__main__":
    main()
