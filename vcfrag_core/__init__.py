"""Retrieval-augmented genotype imputation: the pure library.

Arrays in, arrays out. Only `vcfrag_core.files`, and what reads and writes
models and results, touches the disk; nothing here imports grpc or faiss, reads
a clock, or uses global random state.

What this module exports is the library's face; each name is loaded when it is
first used, so that torch is needed only by those who use the network. Anything
else is private: it may change without notice.

    panel = vcfrag_core.read_panel("panel.bcf")
    targets = vcfrag_core.read_targets("array.vcf.gz", panel)
    genetic_map = vcfrag_core.read_map("chr20.gmap.gz", panel)
    imputer = vcfrag_core.Imputer(panel, genetic_map, corrector=vcfrag_core.load_model())
    imputed = imputer.impute(targets)
    print(imputed.dosages)  # (V, S)

Axis letters, used in every docstring of the project:

    V  variants (sites) of the panel's contig, or of the stated range
    H  haplotypes, sample by sample; `Ploidy` says which are whose
    S  samples
    Q  query haplotypes
    G  segments of a search
    K  neighbours of a segment, or states (candidates) of a query
    M  observed sites of a context
    B  batch
    L  sites of a window
    D  embedding width

Codes: allele 0 REF, 1 ALT, -1 missing. Positions are 1-based as in VCF, site
indices are 0-based and half-open. Genetic distance is in centimorgan.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from vcfrag_core import kernel_cache

if TYPE_CHECKING:
    from vcfrag_core.api import example as example
    from vcfrag_core.api import read_map as read_map
    from vcfrag_core.api import read_panel as read_panel
    from vcfrag_core.api import read_targets as read_targets
    from vcfrag_core.copying.parameters import CopyingParameters as CopyingParameters
    from vcfrag_core.copying.parameters import parameters_for as parameters_for
    from vcfrag_core.copying.problem import CopyingProblem as CopyingProblem
    from vcfrag_core.copying.reference import posterior_reference as posterior_reference
    from vcfrag_core.copying.reference import switch_probabilities as switch_probabilities
    from vcfrag_core.errors import VcfragError as VcfragError
    from vcfrag_core.imputation.corrector import Corrector as Corrector
    from vcfrag_core.imputation.imputed import Imputed as Imputed
    from vcfrag_core.imputation.imputer import Imputer as Imputer
    from vcfrag_core.imputation.load import load_model as load_model
    from vcfrag_core.masks.draw import draw_mask as draw_mask
    from vcfrag_core.masks.policies import ArrayLikeMask as ArrayLikeMask
    from vcfrag_core.masks.policies import FrequencyMask as FrequencyMask
    from vcfrag_core.masks.policies import MaskSites as MaskSites
    from vcfrag_core.masks.policies import MixtureMask as MixtureMask
    from vcfrag_core.masks.policies import RandomMask as RandomMask
    from vcfrag_core.masks.policies import SitesMask as SitesMask
    from vcfrag_core.masks.policies import SpanMask as SpanMask
    from vcfrag_core.model.config import ModelConfig as ModelConfig
    from vcfrag_core.model.network import ImputationModel as ImputationModel
    from vcfrag_core.panel.genetic_map import GeneticMap as GeneticMap
    from vcfrag_core.panel.panel import Panel as Panel
    from vcfrag_core.panel.ploidy import Ploidy as Ploidy
    from vcfrag_core.panel.split import Split as Split
    from vcfrag_core.panel.windows import Window as Window
    from vcfrag_core.panel.windows import lay_windows as lay_windows
    from vcfrag_core.phasing.parameters import PhasingParameters as PhasingParameters
    from vcfrag_core.phasing.phased import Phased as Phased
    from vcfrag_core.phasing.phaser import Phaser as Phaser
    from vcfrag_core.retrieval.identity import Identity as Identity
    from vcfrag_core.retrieval.queries import EXTERNAL as EXTERNAL
    from vcfrag_core.retrieval.queries import SearchResult as SearchResult
    from vcfrag_core.sampling.sampler import SamplerConfig as SamplerConfig
    from vcfrag_core.sampling.sampler import WindowGroupedSampler as WindowGroupedSampler
    from vcfrag_core.scoring.accuracy import aggregate_r2 as aggregate_r2
    from vcfrag_core.scoring.accuracy import concordance as concordance
    from vcfrag_core.scoring.accuracy import dosage_r2 as dosage_r2
    from vcfrag_core.scoring.accuracy import iqs as iqs
    from vcfrag_core.scoring.accuracy import maf_bin as maf_bin
    from vcfrag_core.scoring.accuracy import non_reference_concordance as non_reference_concordance
    from vcfrag_core.scoring.accuracy import site_r2 as site_r2
    from vcfrag_core.targets.targets import Targets as Targets
    from vcfrag_core.window.context import PanelContext as PanelContext
    from vcfrag_core.window.local import LocalRetriever as LocalRetriever
    from vcfrag_core.window.random import RandomRetriever as RandomRetriever
    from vcfrag_core.window.retriever import IndexSpec as IndexSpec
    from vcfrag_core.window.retriever import OpenedIndex as OpenedIndex
    from vcfrag_core.window.retriever import Retriever as Retriever
    from vcfrag_core.window.window import Candidates as Candidates
    from vcfrag_core.window.window import MaskedWindow as MaskedWindow
    from vcfrag_core.window.window import copying_problem as copying_problem
    from vcfrag_core.window.window import retrieve as retrieve

_MODULE_OF = {
    "ArrayLikeMask": "vcfrag_core.masks.policies",
    "Candidates": "vcfrag_core.window.window",
    "CopyingParameters": "vcfrag_core.copying.parameters",
    "CopyingProblem": "vcfrag_core.copying.problem",
    "Corrector": "vcfrag_core.imputation.corrector",
    "EXTERNAL": "vcfrag_core.retrieval.queries",
    "FrequencyMask": "vcfrag_core.masks.policies",
    "GeneticMap": "vcfrag_core.panel.genetic_map",
    "Identity": "vcfrag_core.retrieval.identity",
    "ImputationModel": "vcfrag_core.model.network",
    "Imputed": "vcfrag_core.imputation.imputed",
    "Imputer": "vcfrag_core.imputation.imputer",
    "IndexSpec": "vcfrag_core.window.retriever",
    "LocalRetriever": "vcfrag_core.window.local",
    "MaskSites": "vcfrag_core.masks.policies",
    "MaskedWindow": "vcfrag_core.window.window",
    "MixtureMask": "vcfrag_core.masks.policies",
    "ModelConfig": "vcfrag_core.model.config",
    "OpenedIndex": "vcfrag_core.window.retriever",
    "Panel": "vcfrag_core.panel.panel",
    "PanelContext": "vcfrag_core.window.context",
    "Phased": "vcfrag_core.phasing.phased",
    "Phaser": "vcfrag_core.phasing.phaser",
    "PhasingParameters": "vcfrag_core.phasing.parameters",
    "Ploidy": "vcfrag_core.panel.ploidy",
    "RandomMask": "vcfrag_core.masks.policies",
    "RandomRetriever": "vcfrag_core.window.random",
    "Retriever": "vcfrag_core.window.retriever",
    "SamplerConfig": "vcfrag_core.sampling.sampler",
    "SearchResult": "vcfrag_core.retrieval.queries",
    "SitesMask": "vcfrag_core.masks.policies",
    "SpanMask": "vcfrag_core.masks.policies",
    "Split": "vcfrag_core.panel.split",
    "Targets": "vcfrag_core.targets.targets",
    "VcfragError": "vcfrag_core.errors",
    "Window": "vcfrag_core.panel.windows",
    "WindowGroupedSampler": "vcfrag_core.sampling.sampler",
    "aggregate_r2": "vcfrag_core.scoring.accuracy",
    "concordance": "vcfrag_core.scoring.accuracy",
    "copying_problem": "vcfrag_core.window.window",
    "dosage_r2": "vcfrag_core.scoring.accuracy",
    "draw_mask": "vcfrag_core.masks.draw",
    "example": "vcfrag_core.api",
    "iqs": "vcfrag_core.scoring.accuracy",
    "lay_windows": "vcfrag_core.panel.windows",
    "load_model": "vcfrag_core.imputation.load",
    "maf_bin": "vcfrag_core.scoring.accuracy",
    "non_reference_concordance": "vcfrag_core.scoring.accuracy",
    "parameters_for": "vcfrag_core.copying.parameters",
    "posterior_reference": "vcfrag_core.copying.reference",
    "read_map": "vcfrag_core.api",
    "read_panel": "vcfrag_core.api",
    "read_targets": "vcfrag_core.api",
    "retrieve": "vcfrag_core.window.window",
    "site_r2": "vcfrag_core.scoring.accuracy",
    "switch_probabilities": "vcfrag_core.copying.reference",
}
__all__ = [
    "EXTERNAL",
    "ArrayLikeMask",
    "Candidates",
    "CopyingParameters",
    "CopyingProblem",
    "Corrector",
    "FrequencyMask",
    "GeneticMap",
    "Identity",
    "ImputationModel",
    "Imputed",
    "Imputer",
    "IndexSpec",
    "LocalRetriever",
    "MaskSites",
    "MaskedWindow",
    "MixtureMask",
    "ModelConfig",
    "OpenedIndex",
    "Panel",
    "PanelContext",
    "Phased",
    "Phaser",
    "PhasingParameters",
    "Ploidy",
    "RandomMask",
    "RandomRetriever",
    "Retriever",
    "SamplerConfig",
    "SearchResult",
    "SitesMask",
    "SpanMask",
    "Split",
    "Targets",
    "VcfragError",
    "Window",
    "WindowGroupedSampler",
    "aggregate_r2",
    "concordance",
    "copying_problem",
    "dosage_r2",
    "draw_mask",
    "example",
    "iqs",
    "lay_windows",
    "load_model",
    "maf_bin",
    "non_reference_concordance",
    "parameters_for",
    "posterior_reference",
    "read_map",
    "read_panel",
    "read_targets",
    "retrieve",
    "site_r2",
    "switch_probabilities",
]

kernel_cache.provide_for_numba()


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
