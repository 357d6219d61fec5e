"""The model: a transformer over the retrieved candidates of every uncertain site, which corrects copying.

    p        dosage of copying, from forward-backward over the candidates
    logits   logit((1 - eta) p + eta AF) + Delta,   Delta = 0 before training

Shape suffixes: Q query haplotypes, L sites of the window, M observed sites of the context, N uncertain sites of all
queries together, T candidates shown, K = T + 1 tokens of a site, D width. The tokens of a site are the site itself
and its best candidates; the site's token answers. Nothing is tied to the identity of a site or a sample, so that
weights hold on another chromosome. Two inputs with equal p and different candidates give different logits.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from vcfrag_core.copying.layer import copy_dosage
from vcfrag_core.evidence.inputs import ALLELE_INPUT, N_CANDIDATE_INPUTS, N_SITE_INPUTS
from vcfrag_core.model.config import ModelConfig
from vcfrag_core.model.embedding import AlleleEmbedding
from vcfrag_core.model.other_ways import copied_otherwise
from vcfrag_core.model.tensors import ModelInput, ModelOutput


class Block(nn.Module):
    """Pre-norm transformer block, its attention fused; the last one of a model answers for the site's token alone.

    For one token, keys and values need not be made: q · (W x) = (W' q) · x, and a weighted sum of W x + b is W of the
    weighted sum, plus b. So every head brings its query to the width of the tokens, attends over them as they are, and
    takes its own part of what comes back. That is not fused.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.width
        self.heads, self.dropout = config.heads, config.dropout
        self.norm_attention, self.norm_mlp = nn.LayerNorm(d), nn.LayerNorm(d)
        # A key's bias moves all scores of a query alike.
        self.query, self.key, self.value = nn.Linear(d, d), nn.Linear(d, d, bias=False), nn.Linear(d, d)
        self.out = nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, config.expansion * d), nn.GELU(), nn.Linear(config.expansion * d, d))
        self.drop = nn.Dropout(config.dropout)

    def forward(self, x_NKD: Tensor, bias_N11K: Tensor, tokens: int) -> Tensor:
        """(N, tokens, D): the first `tokens` tokens after attending over all K."""
        normed_NKD, x_NTD = self.norm_attention(x_NKD), x_NKD[:, :tokens]
        attend = self._attend_once if tokens == 1 else self._attend
        x_NTD = x_NTD + self.drop(self.out(attend(normed_NKD, bias_N11K.to(normed_NKD.dtype), tokens)))
        answer: Tensor = x_NTD + self.drop(self.mlp(self.norm_mlp(x_NTD)))
        return answer

    def _attend(self, x_NKD: Tensor, bias_N11K: Tensor, tokens: int) -> Tensor:
        """(N, tokens, D): values of all heads together, for any number of tokens."""
        n, _, d = x_NKD.shape
        query, key, value = (
            layer(x).view(n, -1, self.heads, d // self.heads).transpose(1, 2)
            for layer, x in ((self.query, x_NKD[:, :tokens]), (self.key, x_NKD), (self.value, x_NKD))
        )
        attended = functional.scaled_dot_product_attention(
            query, key, value, attn_mask=bias_N11K, dropout_p=self.dropout if self.training else 0.0
        )
        return attended.transpose(1, 2).reshape(n, tokens, d)

    def _attend_once(self, x_NKD: Tensor, bias_N11K: Tensor, tokens: int = 1) -> Tensor:
        """The same for the first token alone: so few products that fusing them costs more than it saves."""
        n, _, d = x_NKD.shape
        by_head_HED = self.key.weight.view(self.heads, d // self.heads, d)
        query_NHE = self.query(x_NKD[:, 0]).view(n, self.heads, d // self.heads)
        query_NHD = torch.einsum("nhe,hed->nhd", query_NHE, by_head_HED) * (d // self.heads) ** -0.5
        score_NHK = torch.baddbmm(bias_N11K[:, 0], query_NHD, x_NKD.transpose(1, 2))
        share_NHK = functional.dropout(score_NHK.softmax(dim=-1), self.dropout, self.training)
        value_HED = self.value.weight.view(self.heads, d // self.heads, d)
        value_NHE = torch.einsum("nhd,hed->nhe", torch.bmm(share_NHK, x_NKD), value_HED)
        return value_NHE.reshape(n, 1, d) + self.value.bias


class ImputationModel(nn.Module):
    """Corrects the dosages of copying by attending over the candidates.

    Args:
        config: Its shape.

    Attributes:
        sites_at_once: Most uncertain sites that are corrected together, all unless set; of more, activations are made
            again in the backward pass, a part at a time. It changes memory and time, and no result.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.sites_at_once: int | None = None
        d = config.width
        self.embedding = AlleleEmbedding(config.embedding)
        self.log_switch_factor = nn.Parameter(torch.zeros(()))
        self.eta_logit = nn.Parameter(torch.tensor(1e-4).logit())
        self.embed_candidate = nn.Linear(N_CANDIDATE_INPUTS, d)
        self.embed_site = nn.Linear(N_SITE_INPUTS, d)
        self.rank_KD = nn.Parameter(torch.randn(config.candidates + 1, d) * 0.02)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(d)
        self.head = nn.Linear(d, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # The loss reaches the embedding through its weights alone, and only where copying is trained.
        self.embedding.requires_grad_(False)
        self.log_switch_factor.requires_grad_(config.learn_copying)
        self.embedding.level.requires_grad_(config.learn_copying)
        if self.embedding.gate is not None:
            self.embedding.gate.requires_grad_(config.learn_copying)

    def forward(self, batch: ModelInput) -> ModelOutput:
        """Log-odds of ALT at every site of the window."""
        batch = copied_otherwise(batch)
        copying_QL = self._copy(batch)
        logits_QL = self.prior(copying_QL, batch.frequency)
        if len(batch.query):
            delta_N = self.correction(batch.candidates, batch.sites).to(logits_QL.dtype)
            logits_QL = logits_QL.index_put((batch.query, batch.site), delta_N, accumulate=True)
        return ModelOutput(logits=logits_QL, copying=copying_QL)

    def prior(self, dosage: Tensor, frequency: Tensor) -> Tensor:
        """Log-odds of ALT before the correction: finite where all candidates agree."""
        eta = self.eta_logit.sigmoid()
        return ((1 - eta) * dosage + eta * frequency).clamp(1e-7, 1 - 1e-7).logit()

    def correction(self, candidates_NTF: Tensor, sites_NF: Tensor) -> Tensor:
        """(N,) Delta, from inputs as in `ModelInput`."""
        n, most = len(sites_NF), self.sites_at_once or len(sites_NF)
        if n <= most:
            return self._correct(candidates_NTF, sites_NF)
        parts = zip(torch.split(candidates_NTF, most), torch.split(sites_NF, most), strict=True)
        if not torch.is_grad_enabled():
            return torch.cat([self._correct(*part) for part in parts])
        return torch.cat([checkpoint(self._correct, *part, use_reentrant=False) for part in parts])

    def compile_correction(self) -> None:
        """Lets `torch.compile` make the kernels of the correction, for any number of sites."""
        self._correct = torch.compile(self._correct, dynamic=True)  # type: ignore[method-assign]

    def _correct(self, candidates_NTF: Tensor, sites_NF: Tensor) -> Tensor:
        tokens_NTD = self.embed_candidate(candidates_NTF)
        site_N1D = self.embed_site(sites_NF)[:, None]
        x_NKD = torch.cat([site_N1D, tokens_NTD], dim=1) + self.rank_KD
        absent_NK = functional.pad(candidates_NTF[..., ALLELE_INPUT] == 0, (1, 0), value=False)
        bias_N11K = torch.zeros_like(absent_NK, dtype=x_NKD.dtype).masked_fill(absent_NK, -torch.inf)[:, None, None]
        for number, block in enumerate(self.blocks):
            last = number == len(self.blocks) - 1
            x_NKD = block(x_NKD, bias_N11K, 1 if last else x_NKD.shape[1])
        answer: Tensor = self.head(self.norm(x_NKD[:, 0]))[:, 0]
        return answer

    def site_weights(self, frequency: Tensor) -> Tensor:
        """(V,) emission weights, which are the retrieval metric, from (V,) reference frequencies."""
        return self.embedding.weights(frequency)

    def _copy(self, batch: ModelInput) -> Tensor:
        if not self.config.learn_copying or batch.problem is None:
            return batch.copying
        with torch.autocast(batch.copying.device.type, enabled=False):
            weights_M = self.site_weights(batch.observed_frequency)
            switch_M = -torch.expm1(-batch.switch_per_cm * self.log_switch_factor.exp() * batch.gaps_cm)
            return copy_dosage(weights_M, switch_M, batch.problem)
