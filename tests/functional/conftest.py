"""Fixtures of the functional tests; each is made only for a test that asks for it."""

from .stores import shared_stores, stores

__all__ = ["shared_stores", "stores"]
