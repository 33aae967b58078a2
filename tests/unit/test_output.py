"""Tables: a row is one line, but on a terminal that is too narrow for it."""

from __future__ import annotations

from ai_how.cli.output import columns

ROWS = [["VERB", "WHY"], ["update", "a policy changes from one network to another, and four more do"], ["create", ""]]


def test_a_row_is_one_line_where_nobody_says_how_wide() -> None:
    assert columns(ROWS) == ["VERB    WHY", f"update  {ROWS[1][1]}", "create"]


def test_what_does_not_fit_goes_on_below_its_beginning() -> None:
    lines = columns(ROWS, width=40)
    assert lines == [
        "VERB    WHY",
        "update  a policy changes from one",
        "        network to another, and four",
        "        more do",
        "create",
    ]
    assert columns(ROWS, width=200) == columns(ROWS)
    # paths stay whole
    assert columns([["a", "x" * 60]], width=40) == [f"a  {'x' * 60}"]


def test_a_column_of_single_words_is_no_use() -> None:
    assert columns([["a" * 30, "word " * 9]], width=40) == [f"{'a' * 30}  {('word ' * 9).rstrip()}"]
