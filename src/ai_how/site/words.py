"""Says in words what a key of a file takes, from its JSON Schema. Pure; used by messages and by the reference pages."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

Schema = Mapping[str, Any]

SECTION, SECTIONS, SECTIONS_BY_NAME = "a section", "a list of sections", "sections by name"
TEXTS_BY_NAME = "text by name"
VALUES_BY_NAME = "values by name"

FORMS = {
    r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$": "lower-case letters, digits and dashes, beginning with a letter, 32 at most",
    r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$": "lower-case letters, digits, dots and dashes, 3 to 63",
    r"^(sqlite|postgresql|postgresql://[^\s]+)$": "sqlite, postgresql, or postgresql://user@host:port/name",
    r"^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$": "lower-case letters, digits and dashes, 40 at most",
    r"^[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?$": "lower-case letters, digits and dashes, 20 at most",
    r"^\d{4}(-\d{2}(-\d{2})?)?$": "a year, a month or a day, such as 2026-11-25",
    r"^[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?$": "lower-case letters, digits, dots and dashes, 63 at most",
    r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)+$": "a domain, such as ai.example.org",
    r"^https?://[^\s/]+$": "an address, such as https://s3.example.org",
    r"^(qemu|test)(\+(unix|ssh|libssh2?|tls|tcp))?://[A-Za-z0-9._~@:%\[\]/?=&,+-]*$": (
        "libvirt's address of a host, such as qemu:///system or qemu+ssh://admin@server/system"
    ),
    r"^.+$": "a path",
    r"^https://\S+$": "an address that begins with https://",
    r"^[^@\s]+@[^@\s]+$": "an e-mail address",
    r"^postgresql://[^\s:@/]+@[^\s:@/]+(:[0-9]+)?/[^\s/?]+$": "postgresql://user@host:port/name",
    r"^all-[a-z0-9.+-]+$": "a profile, such as all-1g.10gb",
    r"^[^\s]+[:@][^\s]+$": "an image with its tag or digest",
    r"^/[^\s]*$": "a folder's full path, such as /data/images",
    r"^([0-9a-fA-F]{4,8}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F]\.[0-7]$": "a PCI address, such as 65:00.0",
    r"^/\S+$": "a file's full path, such as /srv/card.rom",
    r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,14}$": "the name of a bridge, 15 characters at most",
    r"^[a-z0-9][a-z0-9.-]*$": "lower-case letters, digits, dots and dashes",
    r"^[A-Za-z][A-Za-z0-9-]*$": "letters, digits and dashes, beginning with a letter",
    r"^https?://[^/\s]+/?$": "an address without a path, such as http://192.168.200.1:5080",
    r"^SHA256:[A-Za-z0-9+/]{43}$": "a fingerprint, SHA256: and 43 letters, as ssh-keygen -lf prints it",
    r"^[a-z_][a-z0-9_.-]{0,31}$": "the name of an account, such as admin",
    r"^[A-Za-z0-9][^\s]*$": "a machine as ssh takes it, such as admin@192.0.2.1",
    r"^[0-9]{1,3}(\.[0-9]{1,3}){3}$": "an IPv4 address, such as 192.168.200.1",
    r"^[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}$": "an IPv4 network, such as 192.168.200.0/24",
}
"""What each pattern of our files means to people."""

_TIME_S = {"ms": 0.001, "s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hour": 3600}
_TIME_S |= {"d": 86400, "day": 86400}
_MIB = {"k": 1 / 1024, "m": 1, "g": 1024, "t": 1024 * 1024}
# suffix of a key -> its unit, and what people write behind numbers with the factor to that unit;
# the longest suffix comes first
_UNITS: tuple[tuple[str, str, Mapping[str, float]], ...] = (
    ("_rps_per_gpu", "requests a second for each GPU", {"rps": 1, "/s": 1}),
    ("_percent", "percent", {"%": 1, "percent": 1}),
    ("_tokens", "tokens", {"token": 1, "k": 1024}),
    (
        "_gib",
        "GiB",
        {f"{letter}{end}": factor / 1024 for letter, factor in _MIB.items() for end in ("", "b", "i", "ib")},
    ),
    ("_mbps", "Mbit/s", {"mbps": 1, "mbit/s": 1, "gbps": 1000, "gbit/s": 1000, "m": 1, "g": 1000}),
    ("_mib", "MiB", {f"{letter}{end}": factor for letter, factor in _MIB.items() for end in ("", "b", "i", "ib")}),
    ("_days", "days", {"d": 1, "day": 1, "w": 7, "week": 7}),
    ("_w", "watts", {"w": 1, "watt": 1, "kw": 1000}),
    ("_ms", "milliseconds", {unit: factor * 1000 for unit, factor in _TIME_S.items()}),
    ("_s", "seconds", _TIME_S),
)


def unit(key: str) -> str:
    """The unit that a key's name ends in, or nothing."""
    return next((name for suffix, name, _ in _UNITS if key.endswith(suffix)), "")


def expected(schema: Schema) -> str:
    """What a key takes: ``a whole number from 1 to 65535, or auto``."""
    return ", or ".join(_one(choice) for choice in _choices(schema))


def _choices(schema: Schema) -> list[Schema]:
    return [choice for choice in schema.get("anyOf", [schema]) if choice.get("type") != "null"]


def _one(schema: Schema) -> str:
    match schema:
        case {"const": value}:
            words = str(value)
        case {"enum": values}:
            words = either(values)
        case {"type": "boolean"}:
            words = "true or false"
        case {"type": "integer"}:
            words = "a whole number" + _range(schema)
        case {"type": "number"}:
            words = "a number" + _range(schema)
        case {"type": "string"}:
            words = FORMS.get(schema.get("pattern", ""), "text")
        case {"type": "array", "items": items}:
            words = SECTIONS if _one(items) == SECTION else f"a list of {_one(items)}"
        case {"patternProperties": inner} if all(each.get("type") == "string" for each in inner.values()):
            words = TEXTS_BY_NAME
        case {"additionalProperties": {"type": "string"}}:
            words = TEXTS_BY_NAME
        case {"additionalProperties": True | {"additionalProperties": True}}:
            words = VALUES_BY_NAME
        case {"patternProperties": _} | {"additionalProperties": {}}:
            words = SECTIONS_BY_NAME
        case _:
            words = SECTION
    return words


def _range(schema: Schema) -> str:
    low, above, high = (schema.get(word) for word in ("minimum", "exclusiveMinimum", "maximum"))
    if low is not None and high is not None:
        return f" from {low:.12g} to {high:.12g}"
    words = [f" of {low:.12g} or more"] if low is not None else []
    words += [f" above {above:.12g}"] if above is not None else []
    words += [f" up to {high:.12g}"] if high is not None else []
    return " and".join(words)


def either(values: Iterable[object]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    words = [str(value) for value in values]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def fixed_values(schema: Schema) -> list[str]:
    """The words that a key takes as they are: those of a choice, ``auto``."""
    return [
        value
        for choice in _choices(schema)
        for value in [*choice.get("enum", []), choice.get("const")]
        if isinstance(value, str)
    ]


def takes_text(schema: Schema, text: str) -> bool:
    """Whether a key takes this very text, beside the words of a choice."""
    return any(
        re.search(choice.get("pattern", ""), text) is not None
        for choice in _choices(schema)
        if choice.get("type") == "string" and not choice.keys() & {"const", "enum"}
    )


def number_meant(text: str, key: str, schema: Schema) -> str:
    """The number to write for a text such as ``5m`` in a key of seconds; nothing where that is not clear."""
    found = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([a-zA-Z%/]*)\s*", text)
    number = next((choice for choice in _choices(schema) if choice.get("type") in ("integer", "number")), None)
    if found is None or number is None:
        return ""
    factor = _factor(found[2].lower(), key)
    value = float(found[1]) * factor if factor else math.nan
    if not math.isfinite(value) or not _in_range(value, number):
        return ""
    if value == int(value):
        return str(int(value))
    return "" if number["type"] == "integer" else f"{value:.6g}"


def _factor(suffix: str, key: str) -> float | None:
    if not suffix:
        return 1
    units: Mapping[str, float] = next((units for end, _, units in _UNITS if key.endswith(end)), {})
    return units.get(suffix) or units.get(suffix.removesuffix("s"))


def _in_range(value: float, schema: Schema) -> bool:
    return bool(
        value >= schema.get("minimum", -math.inf)
        and value > schema.get("exclusiveMinimum", -math.inf)
        and value <= schema.get("maximum", math.inf)
    )


def nearest(word: str, options: Iterable[str]) -> list[str]:
    """The options that look most like a word: none, one, or several that are equally near."""
    plain = {option: _plain(option) for option in options}
    slips = [option for option, text in plain.items() if _one_letter_off(text, _plain(word))]
    if slips:
        return slips  # in short words a single letter counts for much: the likeness of ssh and shsh is small
    close = set(difflib.get_close_matches(_plain(word), plain.values(), n=3))
    likeness = {
        option: difflib.SequenceMatcher(None, text, _plain(word)).ratio()
        for option, text in plain.items()
        if text in close
    }
    best = max(likeness.values(), default=0)
    return [option for option, ratio in likeness.items() if ratio == best]


def _one_letter_off(one: str, other: str) -> bool:
    """Whether one letter more, less or else makes one of the other, or none does."""
    short, long = sorted((one, other), key=len)
    same = next((at for at, letter in enumerate(short) if letter != long[at]), len(short))
    return short[same + (len(short) == len(long)) :] == long[same + 1 :]


def _plain(word: str) -> str:
    return word.lower().replace("-", "_")
