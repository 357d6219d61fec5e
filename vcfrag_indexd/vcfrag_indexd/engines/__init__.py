"""Engines: what holds segment indexes and answers searches, all behind `engines.base.Engine`."""
