"""Masks: which sites of the contig are observed, as a pure function of (policy, seed, split, epoch, visit).

The same five things give the same mask on every machine, so a resumed run regenerates its masks, gets the same
digests and finds the same indexes.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Mapping
from typing import Any

from vcfrag_core.errors import ConfigError, RangeError
from vcfrag_core.hashing import text_digest
from vcfrag_core.masks.policies import (
    ArrayLikeMask,
    FrequencyMask,
    MaskPolicy,
    MaskSites,
    MixtureMask,
    RandomMask,
    SitesMask,
    SpanMask,
)
from vcfrag_core.streams import Stream
from vcfrag_core.types import BoolArray

__all__ = [
    "ArrayLikeMask",
    "FrequencyMask",
    "MaskPolicy",
    "MaskSites",
    "MixtureMask",
    "RandomMask",
    "SitesMask",
    "SpanMask",
    "draw_mask",
    "policy_digest",
    "policy_from_config",
    "policy_to_config",
]

_POLICIES: tuple[type[Any], ...] = (RandomMask, FrequencyMask, SpanMask, SitesMask, ArrayLikeMask, MixtureMask)
_KINDS: dict[str, type[Any]] = {policy.kind: policy for policy in _POLICIES}


def draw_mask(policy: MaskPolicy, sites: MaskSites, *, seed: int, split: str, epoch: int, visit: int) -> BoolArray:
    """The mask of one visit.

    Args:
        policy: How to draw.
        sites: The panel's sites with the split's reference frequencies.
        seed: The run's seed.
        split: Name of the split.
        epoch: Epoch; the same for masks that never change.
        visit: Visit within the epoch; the same for masks that change by epoch only.

    Returns:
        (V,) true where observed; at least one site is.

    Raises:
        RangeError: There are no sites, or the policy names sites that the panel lacks.
    """
    if sites.n_sites == 0:
        raise RangeError("a mask needs at least one site")
    stream = Stream("mask", seed, split, epoch, visit, policy_digest(policy))
    observed = policy.observe(sites, stream)
    if not bool(observed.any()):
        observed[int(stream.raw(1)[0]) % sites.n_sites] = True
    return observed


@functools.lru_cache(maxsize=256)
def policy_digest(policy: MaskPolicy) -> str:
    """Digest of the policy's configuration; 1 and 1.0 are the same number."""
    return text_digest("policy", json.dumps(_canonical(policy_to_config(policy)), sort_keys=True))


def policy_to_config(policy: MaskPolicy) -> dict[str, Any]:
    """The policy as plain values, `kind` first; `policy_from_config` reverses it."""
    config: dict[str, Any] = {"kind": policy.kind}
    for field in dataclasses.fields(_KINDS[policy.kind]):
        value = getattr(policy, field.name)
        config[field.name] = list(value) if isinstance(value, tuple) else value
    if isinstance(policy, MixtureMask):
        config["policies"] = [policy_to_config(part) for part in policy.policies]
    return config


def policy_from_config(config: Mapping[str, Any]) -> MaskPolicy:
    """A policy from plain values, such as {"kind": "random", "rate": 0.5}.

    Raises:
        ConfigError: An unknown kind, an unknown or missing key, or a value that makes no sense.
    """
    kind = config.get("kind")
    if kind not in _KINDS:
        raise ConfigError(f"unknown mask kind {kind!r}; known are {', '.join(_KINDS)}")
    fields = {field.name: field for field in dataclasses.fields(_KINDS[kind])}
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in config.items() if key != "kind"}
    unknown = sorted(set(given) - set(fields))
    if unknown:
        raise ConfigError(f"unknown key {unknown[0]!r} of mask kind {kind!r}; known are {', '.join(fields)}")
    missing = [name for name, f in fields.items() if f.default is dataclasses.MISSING and name not in given]
    if missing:
        raise ConfigError(f"mask kind {kind!r} needs {missing[0]!r}")
    if kind == MixtureMask.kind:
        given["policies"] = tuple(_part(part) for part in _sequence("policies", given["policies"]))
        given["shares"] = _sequence("shares", given["shares"])
    if kind == SitesMask.kind:
        given["sites"] = _sequence("sites", given["sites"])
    policy: MaskPolicy = _KINDS[kind](**given)
    return policy


def _part(config: object) -> MaskPolicy:
    if not isinstance(config, Mapping):
        raise ConfigError(f"a policy of a mixture must be a table, got {config!r}")
    return policy_from_config(config)


def _sequence(name: str, value: object) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise ConfigError(f"{name} must be a list, got {value!r}")
    return value


def _canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _canonical(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_canonical(part) for part in value]
    return float(value) if isinstance(value, int) else value
