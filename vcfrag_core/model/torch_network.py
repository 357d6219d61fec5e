"""A model of any depth in imputation, by torch."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Self

import numpy as np
import torch

from vcfrag_core.errors import ShapeError
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.network import ImputationModel
from vcfrag_core.model.torch_threads import torch_threads
from vcfrag_core.types import F32Array, F64Array


class TorchNetwork:
    """A trained model as a `Network`, put into evaluation mode; a `LearnedCopying` too."""

    def __init__(self, model: ImputationModel) -> None:
        self.model = model.eval()
        self.config = model.config
        self.eta = float(model.eta_logit.detach().sigmoid())
        self.switch_factor = float(model.log_switch_factor.detach().exp())

    @classmethod
    def of(cls, config: ModelConfig, tensors: Mapping[str, F32Array]) -> Self:
        """The network of this shape with these parameters by name.

        Raises:
            ShapeError: They are not those of a model of this shape.
        """
        model = ImputationModel(config)
        load_tensors(model, tensors)
        return cls(model)

    @property
    def learned_copying(self) -> Self | None:
        """This model, where it was trained together with copying."""
        return self if self.config.learn_copying else None

    def correction(self, candidates_FTN: F32Array, sites_GN: F32Array) -> F32Array:
        """(N,) Delta."""
        n = sites_GN.shape[1]
        # To the next power of two, so that torch meets few shapes.
        padding = (0, (1 << (n - 1).bit_length()) - n)
        candidates = np.pad(candidates_FTN.transpose(2, 1, 0), (padding, (0, 0), (0, 0)))
        sites = np.pad(sites_GN.T, (padding, (0, 0)))
        with torch.inference_mode():
            delta: F32Array = self.model.correction(torch.from_numpy(candidates), torch.from_numpy(sites)).numpy()
        return delta[:n]

    def site_weights(self, frequency: F64Array) -> F32Array:
        """(V,) emission weights that the model learned for (V,) reference frequencies."""
        with torch.inference_mode():
            weights: F32Array = self.model.site_weights(torch.from_numpy(frequency.astype(np.float32))).numpy()
        return weights

    def undisturbed(self) -> contextlib.AbstractContextManager[None]:
        """One thread of torch for each thread of imputation, so that they do not fight for cores."""
        return torch_threads(1)


def load_tensors(model: torch.nn.Module, tensors: Mapping[str, F32Array]) -> None:
    """Puts parameters by name into a model.

    Raises:
        ShapeError: They are not those of this model.
    """
    try:
        model.load_state_dict({name: torch.from_numpy(tensor) for name, tensor in tensors.items()})
    except RuntimeError as error:
        raise ShapeError(str(error)) from error
