"""The correction of a model of one layer without torch: what `ImputationModel.correction` computes, thrice as fast.

In such a model only the site's token asks, and what it asks are the candidates' tokens before any layer, which are
linear in few inputs but for the scale that LayerNorm gives them:

    x_t = W f_t + c_t,    norm(x_t) = gain · P x_t / s_t + shift,    s_t² = |P x_t|² / D + eps,

P taking the mean away. So tokens need not be made. With A = P W (D, F), A = Q R, and C = P c (D, T) split into a part
in the space of A and one beside it, s_t comes from F numbers and not D. Scores and values of a head are linear in
(f_t / s_t, one-hot t / s_t), and their matrices are made once. What keys add to all candidates alike drops out.

Shape suffixes as in `vcfrag_core.model.network`, sites last: H heads, E = D / H, F inputs of a candidate, G of a site,
R = min(D, F).
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

import numpy as np

from vcfrag_core.errors import ShapeError
from vcfrag_core.evidence.inputs import N_CANDIDATE_INPUTS, N_SITE_INPUTS
from vcfrag_core.model import kernels
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.types import F32Array, F64Array


class OneLayer:
    """A trained model of one layer.

    Args:
        config: Its shape.
        tensors: Its parameters by their names in `ImputationModel`.

    Raises:
        ShapeError: The model has another number of layers, learns copying, or a tensor of the correction is missing,
            unknown or of another shape.
    """

    def __init__(self, config: ModelConfig, tensors: Mapping[str, F32Array]) -> None:
        if not self.serves(config):
            raise ShapeError(f"a model of one layer that leaves copying alone was expected, got {config}")
        self.config = config
        given = _checked(config, tensors)
        self.eta = float(1 / (1 + np.exp(-given["eta_logit"])))
        d, heads, t = config.width, config.heads, config.candidates
        e = d // heads
        block = {name.removeprefix("blocks.0."): tensor for name, tensor in given.items()}
        gain, shift = block["norm_attention.weight"], block["norm_attention.bias"]
        away = np.eye(d) - 1 / d
        token_DF = away @ given["embed_candidate.weight"]
        rank_DT = away @ (given["embed_candidate.bias"] + given["rank_KD"][1:]).T
        within_FT = np.linalg.lstsq(token_DF, rank_DT, rcond=None)[0]
        _, upper_RF = np.linalg.qr(token_DF)
        self._upper, self._within = _f32(upper_RF), _f32(upper_RF @ within_FT)
        self._beside = _f32(np.square(rank_DT - token_DF @ within_FT).sum(axis=0))
        query, key, value = (block[f"{name}.weight"] for name in ("query", "key", "value"))
        scale = e**-0.5
        seen_DJ = np.concatenate([token_DF, rank_DT], axis=1)
        key_HED, value_HED = ((matrix * gain).reshape(heads, e, d) for matrix in (key, value))
        self._site = _f32(given["embed_site.weight"])
        self._site_bias = _column(given["embed_site.bias"] + given["rank_KD"][0])
        self._asked = _f32(np.concatenate([scale * query * gain, key * gain, value * gain]))
        self._query_bias = _column(scale * (query @ shift + block["query.bias"]))
        self._keys, self._values = _f32((key_HED @ seen_DJ).transpose(0, 2, 1)), _f32(value_HED @ seen_DJ)
        self._out = _f32(block["out.weight"])
        self._out_bias = _column(block["out.bias"] + block["out.weight"] @ (value @ shift + block["value.bias"]))
        self._wide = _f32(block["mlp.0.weight"] * block["norm_mlp.weight"])
        self._wide_bias = _column(block["mlp.0.bias"] + block["mlp.0.weight"] @ block["norm_mlp.bias"])
        self._narrow, self._narrow_bias = _f32(block["mlp.2.weight"]), _column(block["mlp.2.bias"])
        self._head = _column(given["head.weight"][0] * given["norm.weight"])
        self._head_bias = np.float32(given["head.bias"][0] + given["head.weight"][0] @ given["norm.bias"])
        self._shape = (d, heads, e, t)

    @staticmethod
    def serves(config: ModelConfig) -> bool:
        """Whether a model of this shape can be had without torch."""
        return config.layers == 1 and not config.learn_copying

    def correction(self, candidates_FTN: F32Array, sites_GN: F32Array) -> F32Array:
        """(N,) Delta, from inputs as of `model_inputs`; takes the same bytes to the same bytes."""
        d, heads, e, t = self._shape
        n = sites_GN.shape[1]
        nothing, normed_DN = np.empty((0, n), dtype=np.float32), np.empty((d, n), dtype=np.float32)
        site_DN = self._site @ sites_GN
        kernels.normalise(site_DN, self._site_bias, nothing, normed_DN)
        asked_3DN = self._asked @ normed_DN
        query_HEN = (asked_3DN[:d] + self._query_bias).reshape(heads, e, n)
        own_key_HEN, own_value_HEN = (part.reshape(heads, e, n) for part in (asked_3DN[d : 2 * d], asked_3DN[2 * d :]))
        inverse_TN = np.empty((t, n), dtype=np.float32)
        share_HKN = np.empty((heads, t + 1, n), dtype=np.float32)
        kernels.score(
            candidates_FTN, self._upper, self._within, self._beside, np.matmul(self._keys, query_HEN), query_HEN,
            own_key_HEN, inverse_TN, share_HKN,
        )  # fmt: skip
        np.exp(share_HKN, out=share_HKN)
        seen_HJN = np.empty((heads, N_CANDIDATE_INPUTS + t, n), dtype=np.float32)
        kernels.attend(candidates_FTN, share_HKN, inverse_TN, seen_HJN)
        value_HEN = np.matmul(self._values, seen_HJN) + share_HKN[:, t:] * own_value_HEN
        after_DN = self._out @ value_HEN.reshape(d, n)
        kernels.normalise(after_DN, self._out_bias, site_DN, normed_DN)
        hidden = self._wide @ normed_DN
        tail, power = np.empty_like(hidden), np.empty_like(hidden)
        kernels.begin_gelu(hidden, self._wide_bias, tail, power)
        kernels.end_gelu(hidden, tail, np.exp(power, out=power))
        last_DN = self._narrow @ hidden
        kernels.normalise(last_DN, self._narrow_bias, after_DN, normed_DN)
        answer: F32Array = (self._head * normed_DN).sum(axis=0) + self._head_bias
        return answer

    @property
    def learned_copying(self) -> None:
        """Nothing: such a model takes copying as it is."""

    def undisturbed(self) -> contextlib.AbstractContextManager[None]:
        """Nothing to be set; threads side by side want one thread of BLAS each, as by `OPENBLAS_NUM_THREADS=1`."""
        return contextlib.nullcontext()


def _checked(config: ModelConfig, tensors: Mapping[str, F32Array]) -> dict[str, F64Array]:
    """The parameters of correction in float64."""
    d, wide = config.width, config.expansion * config.width
    block = {
        "norm_attention.weight": (d,), "norm_attention.bias": (d,), "norm_mlp.weight": (d,), "norm_mlp.bias": (d,),
        "query.weight": (d, d), "query.bias": (d,), "key.weight": (d, d), "value.weight": (d, d), "value.bias": (d,),
        "out.weight": (d, d), "out.bias": (d,), "mlp.0.weight": (wide, d), "mlp.0.bias": (wide,),
        "mlp.2.weight": (d, wide), "mlp.2.bias": (d,),
    }  # fmt: skip
    shapes: dict[str, tuple[int, ...]] = {
        "embed_candidate.weight": (d, N_CANDIDATE_INPUTS), "embed_candidate.bias": (d,),
        "embed_site.weight": (d, N_SITE_INPUTS), "embed_site.bias": (d,), "rank_KD": (config.candidates + 1, d),
        "norm.weight": (d,), "norm.bias": (d,), "head.weight": (1, d), "head.bias": (1,), "eta_logit": (),
    } | {f"blocks.0.{name}": shape for name, shape in block.items()}  # fmt: skip
    mine = {name: np.shape(t) for name, t in tensors.items() if not name.startswith(("embedding.", "log_switch"))}
    for name in sorted(shapes.keys() | mine.keys()):
        if shapes.get(name) != mine.get(name):
            raise ShapeError(f"{name} is {mine.get(name, 'missing')} and should be {shapes.get(name, 'absent')}")
    return {name: np.asarray(tensors[name], dtype=np.float64) for name in shapes}


def _f32(values: F64Array) -> F32Array:
    return np.ascontiguousarray(values, dtype=np.float32)


def _column(values: F64Array) -> F32Array:
    return _f32(values)[:, None]
