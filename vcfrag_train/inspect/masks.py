"""Draws a run's masks again from its panel and configuration, to compare them with those that were used."""

from __future__ import annotations

from vcfrag_core.errors import PanelMismatchError
from vcfrag_core.masks.curriculum import MaskKey, TrainingMasks
from vcfrag_core.retrieval.identity import mask_digest
from vcfrag_core.settings import from_table
from vcfrag_train.runs.folder import RunFolder
from vcfrag_train.runs.index_usage import IndexUsage, MaskName, Role
from vcfrag_train.training.config import FitConfig
from vcfrag_train.training.data.dataset import TrainingData, load_run_data


def expected_masks(run: RunFolder, index_usage: IndexUsage) -> dict[tuple[Role, MaskName], set[str]]:
    """Digests of the masks that the run's configurations give for every name in the record of index usage.

    Raises:
        InputError: The panel or another file is not there any more.
        PanelMismatchError: The panel's file holds another panel than the run was made with.
    """
    expected: dict[tuple[Role, MaskName], set[str]] = {(use.role, use.mask): set() for use in index_usage}
    for table in run.every_config():
        for data in load_run_data(from_table(FitConfig, table, base=run.path)).sets:
            _refuse_other_panel(data, index_usage)
            fixed = {name: mask_digest(mask) for name, mask in data.validation.items()}
            for (role, name), digests in expected.items():
                if name.data == data.name:
                    digest = fixed.get(name.kind) if role == "validation" else _trained_under(data.masks, name)
                    digests |= {digest} if digest is not None else set()
    return expected


def _refuse_other_panel(data: TrainingData, index_usage: IndexUsage) -> None:
    known = {use.identity.panel for use in index_usage if use.mask.data == data.name}
    found = data.fields["panel"]
    if known and found not in known:
        raise PanelMismatchError(
            f"{data.panel.source or 'the panel of the configuration'} holds panel {found} now, the run was made with"
            f" {', '.join(sorted(known))}"
        )


def _trained_under(masks: TrainingMasks, name: MaskName) -> str | None:
    """Digest of a training mask; None where these masks have none of that name."""
    key = masks.key(name.epoch, name.visit)
    if masks.config.refresh == "epoch":
        policy = masks.config.array if name.kind == "array" else masks.config.level_policy(name.epoch)
        key = MaskKey(name.kind, policy, name.epoch, name.visit)
    return mask_digest(masks.draw(key)) if MaskName.of(key, name.data) == name else None
