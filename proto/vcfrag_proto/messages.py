"""Messages that both sides write and read."""

from __future__ import annotations

from vcfrag_core.retrieval.identity import Identity
from vcfrag_proto.v1 import index_pb2 as pb


def identity_of(message: pb.Identity) -> Identity:
    """The five digests of a message."""
    return Identity(
        panel=message.panel, split=message.split, mask=message.mask, metric=message.metric, layout=message.layout
    )


def identity_message(identity: Identity) -> pb.Identity:
    """The five digests as a message."""
    return pb.Identity(
        panel=identity.panel,
        split=identity.split,
        mask=identity.mask,
        metric=identity.metric,
        layout=identity.layout,
    )
