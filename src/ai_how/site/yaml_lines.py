"""YAML with line numbers: reads a file into plain data that remembers where each key stands.

Owns reading, decoding and YAML's own mistakes, for every file that a user writes. Knows no key of any file.
"""

from __future__ import annotations

import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from ai_how.site.mistakes import Key, Mistake, dotted

if TYPE_CHECKING:
    from ruamel.yaml.error import MarkedYAMLError
    from ruamel.yaml.nodes import MappingNode, Node, ScalarNode

_MAX_BYTES = 1 << 20  # a settings file is a few KiB; a larger one is some other file, given by mistake
_MAX_NODES = 10_000  # aliases of aliases can stand for billions of values
_MAX_DEPTH = 20
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a key and its value stand, from 1; ``text`` is a scalar as it was written."""

    file: str
    line: int = 0
    column: int = 0
    value_line: int = 0
    value_column: int = 0
    text: str | None = None


@dataclass(kw_only=True)
class Document:
    """A file's mapping as plain data, with the place of each key and the mistakes that did not hinder reading.

    ``unread``: keys whose value could not be taken; ``mistakes`` says why.
    """

    file: str
    data: dict[str, Any] = field(default_factory=dict)
    places: dict[Key, Place] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    unread: set[Key] = field(default_factory=set)

    def get(self, key: Key) -> Any:
        """The value at ``key``, or None where there is none."""
        value: Any = self.data
        for part in key:
            try:
                value = value[part]
            except (KeyError, IndexError, TypeError):
                return None
        return value

    def place(self, key: Key) -> Place:
        """The place of ``key``, or of the nearest mapping around it that was written."""
        for end in range(len(key), -1, -1):
            if key[:end] in self.places:
                return self.places[key[:end]]
        return Place(file=self.file, line=1, column=1, value_line=1, value_column=1)

    def at_key(self, key: Key, problem: str, remedy: str = "") -> Mistake:
        """A mistake that lies at the key itself."""
        place = self.place(key)
        return Mistake(
            file=place.file, line=place.line, column=place.column, key=dotted(key), problem=problem, remedy=remedy
        )

    def at_value(self, key: Key, problem: str, remedy: str = "") -> Mistake:
        """A mistake that lies at the key's value."""
        place = self.place(key)
        return Mistake(
            file=place.file,
            line=place.value_line,
            column=place.value_column,
            key=dotted(key),
            problem=problem,
            remedy=remedy,
        )


def read_text(path: Path, *, where_from: str) -> tuple[str, list[Mistake]]:
    """Read a file as UTF-8; what keeps it from being read is a mistake, never an exception.

    Args:
        where_from: What to do when there is no such file.
    """
    name = shown_path(path)
    if _would_wait(path):
        return "", [Mistake(file=name, problem="is no regular file", remedy="give the path of a YAML file")]
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES + 1)
    except FileNotFoundError:
        return "", [Mistake(file=name, problem="no such file", remedy=where_from)]
    except IsADirectoryError:
        return "", [Mistake(file=name, problem="is a folder", remedy="give the file's own path")]
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        return "", [Mistake(file=name, problem=f"cannot be read: {reason}")]
    return _decode(raw, name)


def _would_wait(path: Path) -> bool:
    """Whether opening it may wait for ever: a named pipe, a terminal. What a shell hands over (<(...), -) is open."""
    try:
        mode = path.stat().st_mode
    except (OSError, ValueError):
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) and not str(path).startswith(("/dev/fd/", "/dev/stdin"))


def shown_path(path: Path) -> str:
    """A path as short as it can be typed here."""
    try:
        return str(path.relative_to(Path.cwd()))
    except (ValueError, OSError):
        return str(path)


def _decode(raw: bytes, name: str) -> tuple[str, list[Mistake]]:
    if b"\0" in raw:
        return "", [Mistake(file=name, problem="is a binary file or UTF-16", remedy="write YAML, saved as UTF-8")]
    if len(raw) > _MAX_BYTES:
        return "", [Mistake(file=name, problem="is larger than 1 MiB", remedy="is it the right file?")]
    try:
        return raw.decode("utf-8-sig"), []
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        return "", [
            Mistake(
                file=name,
                line=before.count(b"\n") + 1,
                column=error.start - before.rfind(b"\n"),
                problem="is not UTF-8",
                remedy="save it as UTF-8",
            )
        ]


def parse(text: str, file: str) -> Document:
    """Parse YAML text; on broken YAML the document is empty and holds the one mistake. Pure."""
    # ruamel.yaml takes longer to import than everything else here
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError
    from ruamel.yaml.nodes import MappingNode

    document = Document(file=file)
    try:
        node = YAML(typ="rt", pure=True).compose(text)
    except MarkedYAMLError as error:
        document.mistakes.append(_broken(error, text, file))
        return document
    except RecursionError:
        document.mistakes.append(Mistake(file=file, problem="is nested too deeply"))
        return document
    except (YAMLError, ValueError, TypeError, AttributeError, IndexError, AssertionError) as error:
        # ruamel.yaml answers some malformed tags and directives with Python's own errors
        document.mistakes.append(_unreadable(error, text, file))
        return document
    if node is None:
        document.mistakes.append(Mistake(file=file, problem="is empty", remedy="it needs at least one key"))
    elif not isinstance(node, MappingNode):
        document.mistakes.append(
            Mistake(
                file=file, line=1, column=1, problem="is not a mapping", remedy="write lines of the form key: value"
            )
        )
    else:
        walk = _Walk(document)
        document.data = walk.mapping(node, ())
    return document


class _Walk:
    """Turns YAML nodes into plain data and notes where each key stands."""

    def __init__(self, document: Document) -> None:
        from ruamel.yaml import YAML

        self.document = document
        self.constructor = YAML(typ="safe", pure=True).constructor
        self.nodes = 0
        self.overflowed = False

    def mapping(self, node: MappingNode, at: Key) -> dict[str, Any]:
        from ruamel.yaml.nodes import ScalarNode

        data: dict[str, Any] = {}
        merged: list[Node] = []
        for key_node, value_node in node.value:
            if not isinstance(key_node, ScalarNode):
                self._refuse(key_node, at, "a key must be plain text", "write key: value")
                continue
            key_node.value = _characters(str(key_node.value))
            if str(key_node.tag) == f"{_TAG}merge":
                merged.append(value_node)
            elif key_node.value in data:
                first = self.document.places[(*at, key_node.value)].line
                self._refuse(key_node, (*at, key_node.value), f"written twice, first in line {first}", "keep one")
            else:
                key = (*at, key_node.value)
                self.document.places[key] = _place(self.document.file, key_node, value_node)
                data[key_node.value] = self.value(value_node, key)
        for value_node in merged:
            self._merge(data, value_node, at)
        return data

    def _merge(self, data: dict[str, Any], node: Node, at: Key) -> None:
        """YAML's ``<<``: keys of the other mapping that are not written here."""
        from ruamel.yaml.nodes import MappingNode

        if not isinstance(node, MappingNode):
            self._refuse(node, at, "<< takes one mapping", "write its keys out instead")
            return
        for key_node, value_node in node.value:
            key = (*at, str(key_node.value))
            if isinstance(key_node.value, str) and key_node.value not in data:
                self.document.places[key] = _place(self.document.file, key_node, value_node)
                data[key_node.value] = self.value(value_node, key)

    def value(self, node: Node, at: Key) -> Any:
        from ruamel.yaml.nodes import MappingNode, SequenceNode

        self.nodes += 1
        if self.nodes > _MAX_NODES or len(at) > _MAX_DEPTH:
            if not self.overflowed:
                self._refuse(node, at[:2], "holds too many values", "do aliases (*name) refer to one another?")
            self.overflowed = True
            self.document.unread.add(at)
            return None
        if isinstance(node, MappingNode):
            return self.mapping(node, at)
        if isinstance(node, SequenceNode):
            items = []
            for index, item in enumerate(node.value):
                self.document.places[(*at, index)] = _place(self.document.file, item, item)
                items.append(self.value(item, (*at, index)))
            return items
        return self._scalar(cast("ScalarNode", node), at)

    def _scalar(self, node: ScalarNode, at: Key) -> Any:
        tag = str(node.tag)
        if not tag.startswith(_TAG) or tag == f"{_TAG}binary":
            self._refuse(node, at, f"has the tag {tag.replace(_TAG, '!!')}", "write the value without a tag")
            self.document.unread.add(at)
            return None
        if tag == f"{_TAG}null":
            return None
        if tag in (f"{_TAG}int", f"{_TAG}float", f"{_TAG}bool"):
            try:
                return self.constructor.construct_object(node)
            except (ValueError, KeyError, IndexError):
                return str(node.value)
        if "\0" in str(node.value):
            self._refuse(node, at, "holds a NUL, which no file, name or program takes", "write it without")
            self.document.unread.add(at)
            return None
        return _characters(str(node.value))

    def _refuse(self, node: Node, at: Key, problem: str, remedy: str) -> None:
        mark = node.start_mark
        self.document.mistakes.append(
            Mistake(
                file=self.document.file,
                line=mark.line + 1,
                column=mark.column + 1,
                key=dotted(at),
                problem=problem,
                remedy=remedy,
            )
        )


def _characters(text: str) -> str:
    """Text as it was meant: JSON writes some characters as two escapes, which are one; half of one is none."""
    if not re.search("[\ud800-\udfff]", text):
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _place(file: str, key_node: Node, value_node: Node) -> Place:
    from ruamel.yaml.nodes import ScalarNode

    # the parser puts an empty value at whatever follows it
    empty = isinstance(value_node, ScalarNode) and value_node.start_mark.index == value_node.end_mark.index
    value_mark = (key_node if empty else value_node).start_mark
    return Place(
        file=file,
        line=key_node.start_mark.line + 1,
        column=key_node.start_mark.column + 1,
        value_line=value_mark.line + 1,
        value_column=value_mark.column + 1,
        text=str(value_node.value) if isinstance(value_node, ScalarNode) else None,
    )


# part of the parser's message -> (what is wrong, what would be right); the first that fits is taken
_BROKEN = (
    ("mapping values are not allowed", "a colon that does not fit here", "quote text that has ': ' in it; align keys"),
    ("another document", "a second document begins here", "keep one document a file"),
    ("unexpected end of stream", "a quote that is never closed", "close it"),
    ("expected ',' or", "a bracket that is never closed", "close it"),
    ("expected the node content", "a value is missing here", "write it, or close the bracket"),
    ("undefined alias", "an alias without its anchor", "quote text that begins with *"),
    ("cannot start any token", "a character that cannot begin a value", "put the value in quotes"),
    ("could not find expected ':'", "a line without a colon", "write key: value"),
    ("expected <block end>", "wrong indentation", "align the keys of one section"),
)


def _broken(error: MarkedYAMLError, text: str, file: str) -> Mistake:
    """The parser's message in our words, at the place to look at."""
    said = error.problem or error.context or "cannot be parsed"
    problem, remedy = f"broken YAML: {said}", "check indentation and quotes near this line"
    for part, what, right in _BROKEN:
        if part in said:
            problem, remedy = what, right
            break
    # what is never ended is noticed further down, but is to be corrected where it began
    begun = "never closed" in problem or "without a colon" in problem
    mark = error.context_mark if begun and error.context_mark else error.problem_mark
    line, column = (mark.line, mark.column) if mark else (0, 0)
    written = text.splitlines()[line] if line < len(text.splitlines()) else ""
    if "\t" in written[: len(written) - len(written.lstrip())]:
        problem, remedy = "a tab in the indentation", "indent with spaces"
        column = written.index("\t")
    return Mistake(file=file, line=line + 1, column=column + 1, problem=problem, remedy=remedy)


def _unreadable(error: Exception, text: str, file: str) -> Mistake:
    position = getattr(error, "position", None)
    if not isinstance(position, int):
        return Mistake(file=file, problem="broken YAML", remedy="check its tags (!), anchors (&) and % lines")
    before = text[:position]
    return Mistake(
        file=file,
        line=before.count("\n") + 1,
        column=position - before.rfind("\n"),
        problem="a control character",
        remedy="remove it",
    )
