"""Unit tests are pure: starting a process or opening a connection fails the test."""

from __future__ import annotations

import importlib
import os
import socket
import subprocess
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.unit.card_hosts import card_host, connect_to_test_driver

__all__ = ["card_host", "connect_to_test_driver"]

# how long an example takes is the machine's business
# the same examples at every run where it decides what is released; elsewhere new ones are looked for
settings.register_profile(
    "untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize="CI" in os.environ
)
settings.load_profile("untimed")


@pytest.fixture(scope="session", autouse=True)
def fonts_known() -> None:
    """The first time that plots are drawn on a machine, the fonts are looked for by a program."""
    importlib.import_module("matplotlib.font_manager")


@pytest.fixture(autouse=True)
def no_way_out(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    def refuse(*_args: object, **_kwargs: object) -> None:
        raise AssertionError("a unit test started a process or opened a connection")

    monkeypatch.setattr(subprocess.Popen, "__init__", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)
    yield
