"""What cloud-init says of itself, as it is told to the user."""

from __future__ import annotations

import json

import pytest

from ai_how.machines.ready import complaints_in

STATUS_FILE = {
    "v1": {
        "datasource": "DataSourceNoCloud",
        "stage": None,
        "init-local": {"errors": [], "recoverable_errors": {}, "finished": 3.2, "start": 2.1},
        "init": {
            "errors": ["no disk"],
            "recoverable_errors": {"WARNING": ["odd", "odd"]},
            "finished": 9.0,
            "start": 4.0,
        },
        "modules-final": {"errors": ["no disk"], "recoverable_errors": {"DEPRECATED": ["old"]}},
    }
}


def test_the_status_file_is_read() -> None:
    assert complaints_in(json.dumps(STATUS_FILE)) == (["no disk"], ["odd", "old"])


def test_what_cloud_init_status_prints_is_read() -> None:
    printed = {
        "status": "error",
        "errors": ["no disk"],
        **STATUS_FILE["v1"],
        "recoverable_errors": {"WARNING": ["odd"]},
    }
    assert complaints_in("....\n" + json.dumps(printed)) == (["no disk"], ["odd", "old"])


def test_one_from_before_complaints_were_kept_is_read() -> None:
    assert complaints_in('{"v1": {"stage": null, "init": {"errors": [], "start": 1.0}}}') == ([], [])


@pytest.mark.parametrize("text", ["", "ready", "{", "{}", '{"v1": {"init": {"errors": null}}}'])
def test_what_is_neither_says_nothing(text: str) -> None:
    assert complaints_in(text) == ([], [])
