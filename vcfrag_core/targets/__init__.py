"""Targets against the panel: matching, tests of typed sites, people."""
