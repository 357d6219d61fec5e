"""The client: trains against an index daemon, imputes and evaluates files. Names are loaded when first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from vcfrag_train.client.client import IndexClient as IndexClient
    from vcfrag_train.client.retriever import RemoteRetriever as RemoteRetriever
    from vcfrag_train.evaluation.evaluate import evaluate as evaluate
    from vcfrag_train.imputing.config import ImputeConfig as ImputeConfig
    from vcfrag_train.imputing.pipeline import impute as impute
    from vcfrag_train.training.session import fit as fit

_MODULE_OF = {
    "ImputeConfig": "vcfrag_train.imputing.config",
    "IndexClient": "vcfrag_train.client.client",
    "RemoteRetriever": "vcfrag_train.client.retriever",
    "evaluate": "vcfrag_train.evaluation.evaluate",
    "fit": "vcfrag_train.training.session",
    "impute": "vcfrag_train.imputing.pipeline",
}
__all__ = ["ImputeConfig", "IndexClient", "RemoteRetriever", "evaluate", "fit", "impute"]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
