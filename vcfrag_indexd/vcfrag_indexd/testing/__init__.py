"""The daemon in a user's own tests: `serve` and the pytest fixture `vcfrag_daemon`."""

from vcfrag_indexd.testing.fixtures import serve, vcfrag_daemon

__all__ = ["serve", "vcfrag_daemon"]
