"""Research with the library's face alone: mask, search, copy, look at candidates and posteriors, plot.

    python docs/research.py research.png

needs the extra `report` for the plot. It runs on the small generated panel that ships with the library; give
`read_panel` and `read_map` your own files for anything else. `tests/system/test_research.py` runs it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import vcfrag_core as vc

HELD_OUT = ("AFR0011", "AFR0012", "AFR0013")
# The haplotype that is plotted, the second of the last of them: it copies from several others in turn.
SHOWN = 5
# Candidates are named in the plot where they are at least so likely somewhere.
LEAST_POSTERIOR = 0.3


def main(plot: Path) -> None:
    """Hides two thirds of the sites of some panel samples and looks at what retrieval and copying make of them."""
    folder = vc.example()
    panel = vc.read_panel(folder / "panel.vcf.gz")
    cm = vc.read_map(folder / "map.txt", panel).at(panel.positions)
    samples = HELD_OUT

    # A mask is a pure function of its policy and of where it is used: the same on every machine.
    policy = vc.RandomMask(rate=2 / 3)
    observed = vc.draw_mask(policy, vc.MaskSites.of(panel), seed=1, split="research", epoch=0, visit=0)
    print(f"{int(observed.sum())} of {panel.n_sites} sites observed")

    # An index is named by digests of everything that it is made from. A query never sees its own exclusion group.
    parameters = vc.CopyingParameters(scales=(16, 64), k=8, flank_cm=1.0, switch_per_cm=3.0)
    weights = np.full(panel.n_sites, np.float32(7))
    split = vc.Split(name="research", reference=panel.samples, groups={name: name for name in panel.samples})
    spec = vc.IndexSpec.of(panel.digest, split=split, observed=observed, weights=weights, parameters=parameters)
    ploidy = panel.ploidy_of(samples)
    with vc.LocalRetriever(panel) as retriever:
        queries = vc.MaskedWindow(
            window=vc.Window(0, 0, panel.n_sites, 0, panel.n_sites),
            observed=observed,
            weights=weights,
            parameters=parameters,
            alleles=panel.haplotypes(panel.rows_of(samples)).astype(np.int8),
            samples=ploidy.of_haplotypes(samples),
            ploidy=ploidy,
        )
        candidates = vc.retrieve(queries, retriever.open(spec))

    # Copying: posteriors of the candidates at the observed sites, dosages at all of them.
    problem = vc.copying_problem(queries, vc.PanelContext(panel=panel, cm=cm), candidates)
    switch = vc.switch_probabilities(problem.sites.gaps_cm, parameters.switch_per_cm)
    dosage = problem.dosage(weights[problem.sites.observed].astype(np.float64), switch)
    rows = candidates.all_scales[SHOWN]
    posterior = vc.posterior_reference(
        panel.haplotypes(rows)[:, problem.sites.observed].T.astype(np.int8),
        problem.queries[SHOWN],
        weights[problem.sites.observed].astype(np.float64),
        switch,
    )
    best = rows[posterior.argmax(axis=1)]
    name = ploidy.of_haplotypes(samples)[SHOWN]
    print(f"{name}, haplotype {SHOWN}: {len(rows)} candidates, {len(set(best.tolist()))} of them likeliest somewhere")

    masked = np.flatnonzero(~observed)
    truth = panel.haplotypes(panel.rows_of(samples)).astype(np.int8)
    r2 = vc.aggregate_r2(
        ploidy.copies(dosage)[:, masked].T,
        ploidy.copies(truth)[:, masked].T,
        panel.alt_frequency()[masked],
    )
    print(f"aggregate r² at masked sites {r2:.3f}")

    figure, (top, bottom) = plt.subplots(2, 1, sharex=True, figsize=(9, 5), layout="constrained")
    megabases = panel.positions / 1e6
    likely = posterior.max(axis=0) >= LEAST_POSTERIOR
    owners = panel.ploidy.of_haplotypes(panel.samples)
    # Where many candidates are alike, each is little likely: these are the others.
    labels = [f"{owners[row]}, row {row}" for row in rows[likely]]
    shares = np.column_stack([posterior[:, likely], posterior[:, ~likely].sum(axis=1)])
    colours = [*(f"C{i}" for i in range(len(labels))), "lightgrey"]
    top.stackplot(megabases[problem.sites.observed], shares.T, labels=[*labels, "all others"], colors=colours)
    top.set(ylabel="posterior", ylim=(0, 1), title=f"From whom the second haplotype of {name} copies")
    top.legend(title="panel haplotype", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    error = np.abs(dosage[SHOWN, masked] - truth[SHOWN, masked])
    bottom.plot(megabases[masked], error, ".", markersize=4, label="masked site")
    bottom.set(xlabel=f"position on contig {panel.contig} (Mb)", ylabel="error of the dosage", ylim=(-0.02, 1.02))
    bottom.legend(fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(plot, dpi=120)
    plt.close(figure)


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "research.png"))
