"""Answer checks: prompts with what their answers must be like, from a file of the user's.

Owns the file's format and the judgement of one answer. Asks nobody.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ai_how.site.mistakes import Mistake, in_order, spec_error
from ai_how.site.yaml_lines import Document, Place, parse, read_text, shown_path

_SHOWN = 60


@dataclass(frozen=True, kw_only=True)
class Check:
    """A prompt and what its answer must be like. ``matches`` are regular expressions, searched in the whole answer."""

    prompt: str
    contains: tuple[str, ...] = ()
    matches: tuple[str, ...] = ()
    min_characters: int = 1
    max_tokens: int = 100


class CheckKeys(BaseModel):
    """One prompt, and what its answer must be like; with nothing said, any answer that is not empty will do."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    prompt: Annotated[str, Field(min_length=1)]
    """What is asked, as a chat message where the model has a chat template."""
    contains: list[str] = []
    """Texts that the answer must contain, each of them, in any case of letters."""
    matches: list[str] = []
    """Regular expressions (Python's) that must be found in the answer, each of them."""
    min_characters: Annotated[int, Field(ge=1)] = Check.min_characters
    """The shortest answer that will do."""
    max_tokens: Annotated[int, Field(ge=1)] = Check.max_tokens
    """Where an answer is cut off."""


class ChecksFile(BaseModel):
    """The file: a list of prompts."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    prompts: Annotated[list[CheckKeys], Field(min_length=1)]
    """The prompts; each is asked once of every revision."""


def load_checks(path: Path) -> tuple[Check, ...]:
    """Read and check a prompt file: YAML with the key ``prompts``, or JSON lines, one prompt each.

    Raises:
        SpecError: the evidence lists every mistake with file and line.
    """
    from ai_how.site.check import check

    text, mistakes = read_text(path, where_from="give the path of a prompt file")
    if mistakes:
        raise _refusal(path, mistakes)
    document = _json_lines(text, path) if path.suffix in (".jsonl", ".ndjson") else parse(text, shown_path(path))
    if document.mistakes:
        raise _refusal(path, document.mistakes)
    if document.get(("prompts",)) == []:
        raise _refusal(path, [document.at_value(("prompts",), "has no prompts", "write - prompt: Hello below it")])
    checked = check(ChecksFile, document)
    mistakes = [*checked.mistakes, *checked.unknown_keys, *_bad_patterns(document)]
    if checked.value is None or mistakes:
        raise _refusal(path, in_order(mistakes))
    return tuple(map(_check_of, checked.value.prompts))


def problem(check: Check, answer: str) -> str:
    """What is wrong with an answer, in a few words; empty where nothing is."""
    if len(answer.strip()) < check.min_characters:
        return f"{len(answer.strip())} characters, {check.min_characters} wanted"
    missing = [text for text in check.contains if text.casefold() not in answer.casefold()]
    if missing:
        return f"does not contain {_short(missing[0])!r}"
    unmatched = [pattern for pattern in check.matches if not re.search(pattern, answer)]
    return f"does not match {_short(unmatched[0])!r}" if unmatched else ""


def _json_lines(text: str, path: Path) -> Document:
    """The lines as one document, each value at its line."""
    name = shown_path(path)
    document = Document(file=name, data={"prompts": []})
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            document.mistakes.append(Mistake(file=name, line=number, column=1, problem=f"is not JSON: {error}"))
            continue
        place = len(document.data["prompts"])
        document.data["prompts"].append(value)
        document.places["prompts", place] = Place(file=name, line=number, column=1, value_line=number, value_column=1)
    if not document.data["prompts"] and not document.mistakes:
        document.mistakes.append(Mistake(file=name, problem="is empty", remedy='write lines such as {"prompt": "Hi"}'))
    return document


def _bad_patterns(document: Document) -> list[Mistake]:
    """Patterns that are none, wherever there is a list of texts; what else is wrong is found by the schema."""
    prompts = document.get(("prompts",))
    found = []
    for place, one in enumerate(prompts if isinstance(prompts, list) else ()):
        patterns = one.get("matches") if isinstance(one, dict) else None
        for which, pattern in enumerate(patterns if isinstance(patterns, list) else ()):
            if isinstance(pattern, str) and (wrong := _pattern_problem(pattern)):
                key = ("prompts", place, "matches", which)
                found.append(document.at_value(key, f"is no regular expression: {wrong}"))
    return found


def _pattern_problem(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        return str(error)
    return ""


def _check_of(keys: CheckKeys) -> Check:
    return Check(
        prompt=keys.prompt,
        contains=tuple(keys.contains),
        matches=tuple(keys.matches),
        min_characters=keys.min_characters,
        max_tokens=keys.max_tokens,
    )


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _refusal(path: Path, mistakes: Sequence[Mistake]) -> Exception:
    return spec_error(shown_path(path), mistakes, next_step="correct it and run the command again")
