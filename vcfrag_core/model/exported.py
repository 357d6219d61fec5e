"""An exported model: weights, provenance and validation scores, without a trainer's state. Read without torch.

weights.safetensors   the model's tensors; the metadata holds its configuration
scores.json           r² of the model and of copying on held-out samples, by validation mask and MAF bin, and of
                      several data sets that of each
provenance.json       what it was made from, with a digest of each file above; files are named without their folders
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from vcfrag_core.errors import ConfigError, ProvenanceMismatchError, ProvenanceMissingError, ShapeError
from vcfrag_core.evidence.inputs import INPUTS_DIGEST
from vcfrag_core.hashing import text_digest
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.one_layer import OneLayer
from vcfrag_core.model.provenance import Acceptance, Provenance, read_provenance
from vcfrag_core.model.scores import Bin, Scores, ValidationScores
from vcfrag_core.settings import from_table
from vcfrag_core.types import F32Array

if TYPE_CHECKING:
    from vcfrag_core.model.torch_network import TorchNetwork

WEIGHTS: Final = "weights.safetensors"
SCORES: Final = "scores.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainedModel:
    """A model and its provenance.

    Attributes:
        config: Its shape.
        tensors: Its parameters by name.
        provenance: What it was made from.
        accepted: Differences that the caller accepted just now.
        folder: The checkpoint, or the exported model.
        scores: How it did on held-out samples.
    """

    config: ModelConfig
    tensors: Mapping[str, F32Array]
    provenance: Provenance
    accepted: tuple[Acceptance, ...]
    folder: Path
    scores: ValidationScores

    @classmethod
    def of(
        cls, folder: Path, record: Provenance, scores: Scores, *, found: Mapping[str, str], accept: Collection[str]
    ) -> TrainedModel:
        """The model in a folder whose files were checked against their record.

        Args:
            folder: Holds the weights.
            record: Their provenance.
            scores: Their validation.
            found: What the model shall be used with, by field of `provenance.FIELDS`: `panel` and `map`.
            accept: Fields that may differ.

        Raises:
            ProvenanceMismatchError: A field differs and is not accepted.
            ProvenanceMissingError: The weights do not say what model they belong to.
        """
        accepted = record.check({**found, "inputs": INPUTS_DIGEST}, accept)
        tensors, table = read_weights(folder)
        return cls(
            config=from_table(ModelConfig, table, base=folder, where="model"),
            tensors=tensors,
            provenance=record,
            accepted=accepted,
            folder=folder,
            scores=ValidationScores(scores),
        )

    @property
    def left_to_copying(self) -> tuple[Bin, ...]:
        """MAF bins (low, high] in which copying did better on held-out samples, whatever the reference."""
        return self.scores.left_to_copying()

    @property
    def reference_samples(self) -> tuple[int, int] | None:
        """Samples of the smallest and the largest reference in training; None where the record does not say."""
        said = [int(number) for number in re.findall(r"(\d+) reference\b", self.provenance.described.get("split", ""))]
        return (min(said), max(said)) if said else None

    @property
    def name(self) -> str:
        """What it is, in one line for records."""
        accepted = "".join(f" accepted={item.field}:{item.found}" for item in self.accepted)
        record = self.provenance
        return (
            f"trained weights={record.files[WEIGHTS]} step={record.step} "
            f"panel={record.fields['panel']} map={record.fields['map']}{accepted}"
        )

    def network(self) -> OneLayer | TorchNetwork:
        """The model at work: without torch where its shape allows it.

        Raises:
            ConfigError: It needs torch, which is not installed.
            ProvenanceMismatchError: The tensors are not those of a model of this shape.
        """
        try:
            if OneLayer.serves(self.config):
                return OneLayer(self.config, self.tensors)
            from vcfrag_core.model.torch_network import TorchNetwork

            return TorchNetwork.of(self.config, self.tensors)
        except ShapeError as error:
            raise wrong_tensors(self.folder, error) from error
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{self.folder} has several layers, which need torch; run: pip install 'vcfrag[train]'"
            ) from error


def read_exported(folder: Path) -> tuple[Provenance, Scores]:
    """The record and the scores of an exported model, after a check of its files.

    Raises:
        ProvenanceMissingError: A file is missing, or the record does not speak of it.
        ProvenanceMismatchError: A file is not the one that the record speaks of.
    """
    record = read_provenance(folder)
    for name in (WEIGHTS, SCORES):
        path = folder / name
        if name not in record.files or not path.is_file():
            raise ProvenanceMissingError(f"{folder}: {name} is missing, or the record does not speak of it")
        if file_digest(path) != record.files[name]:
            raise ProvenanceMismatchError(f"{path} is not the file that the record speaks of")
    return record, json.loads((folder / SCORES).read_text(encoding="utf-8"))


def is_exported(folder: Path) -> bool:
    """Whether the folder holds an exported model."""
    return (folder / SCORES).is_file()


def read_weights(folder: Path) -> tuple[dict[str, F32Array], dict[str, Any]]:
    """The tensors in a folder and the model's configuration.

    Raises:
        ProvenanceMissingError: They do not say what model they belong to.
    """
    from safetensors import safe_open

    with safe_open(folder / WEIGHTS, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
        metadata = file.metadata() or {}
    if "model" not in metadata:
        raise ProvenanceMissingError(f"{folder / WEIGHTS} does not say what model its tensors belong to")
    return tensors, json.loads(metadata["model"])


def wrong_tensors(folder: Path, error: Exception) -> ProvenanceMismatchError:
    """The error for tensors that are not those of the model that their file speaks of."""
    return ProvenanceMismatchError(
        f"{folder}: the tensors are not those of this model; another configuration or version wrote them ({error})"
    )


def file_digest(path: Path) -> str:
    """Digest of a file's bytes."""
    return text_digest("file", path.read_bytes())
