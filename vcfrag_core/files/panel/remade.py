"""Blocks of a cache entry that is made again where it turns out to be damaged while it is used."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import TypeVar

from vcfrag_core.errors import CacheError
from vcfrag_core.panel.blocks import Block
from vcfrag_core.panel.compact import BlockStore
from vcfrag_core.types import U8Array

T = TypeVar("T")

_log = logging.getLogger(__name__)


class RemadeBlocks:
    """Blocks of a file, and of what is made in its place once one of them is damaged. Safe in threads.

    Args:
        store: The file's blocks.
        remake: Makes the file again and returns its blocks, which hold the same alleles.
    """

    def __init__(self, store: BlockStore, remake: Callable[[], BlockStore]) -> None:
        self._store, self._remake = store, remake
        self._is_remade = False
        self._lock = threading.Lock()

    def content(self, number: int) -> U8Array:
        """See `BlockStore.content`."""
        return self._ask(lambda store: store.content(number))

    def block(self, number: int) -> Block:
        """See `BlockStore.block`."""
        return self._ask(lambda store: store.block(number))

    def _ask(self, ask: Callable[[BlockStore], T]) -> T:
        asked = self._store
        try:
            return ask(asked)
        except CacheError as error:
            with self._lock:
                if self._store is asked:
                    if self._is_remade:
                        raise
                    _log.warning("panel cache is made again: %s", error)
                    self._store = self._remake()
                    self._is_remade = True
        return ask(self._store)
