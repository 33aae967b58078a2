"""The price file: what things cost, each line a range with its source and date. Pure; reading files is the caller's.

The default file, ``data/prices.yaml``, holds the resource requirements' own estimates. A user's file has the same keys.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ai_how.accelerators.catalogue import by_name, find
from ai_how.capacity.ranges import Range, between
from ai_how.errors import AiHowError, SpecError
from ai_how.site.mistakes import Key, Mistake, dotted, in_order, spec_error
from ai_how.site.yaml_lines import Document, parse

_MOST = 1e9
_MONEY: tuple[Key, ...] = (("hardware",), ("running",), ("power", "price_per_kwh"), ("cloud",))
"""What depends on the currency, besides the GPUs."""
_LIMITS: dict[Key, tuple[float, float, str]] = {
    ("power", "gpu_idle_share"): (0, 1, "a share of the GPU's power limit"),
    ("power", "cooling_factor"): (1, 10, "what the site draws for each watt of its machines"),
    ("lifetime_months",): (1, 600, "a time in months"),
}
Amount = Annotated[float, Field(ge=0, le=_MOST)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Line(_Section):
    """One figure: a range, and who says so when."""

    low: Amount
    high: Amount | None = None
    mid: Amount | None = None
    source: Annotated[str, Field(min_length=1)]
    date: Annotated[str, Field(pattern=r"^\d{4}(-\d{2}(-\d{2})?)?$")]

    @property
    def range(self) -> Range:
        return between(self.low, self.low if self.high is None else self.high, self.mid)


class Hardware(_Section):
    """Bought once for each host."""

    server: Line
    memory: Line
    storage: Line
    network: Line


class Running(_Section):
    """Paid each month."""

    maintenance_per_month: Line


class Power(_Section):
    """What the machines draw and what that costs."""

    price_per_kwh: Line
    cooling_factor: Line
    gpu_idle_share: Line
    cpu_idle_w_per_thread: Line
    cpu_busy_w_per_thread: Line


class Cloud(_Section):
    """One provider: by the month for machines like these that always run, or by the GPU and hour."""

    month: Line | None = None
    gpu_hour: Line | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Cloud:
        if (self.month is None) == (self.gpu_hour is None):
            raise ValueError("takes month or gpu_hour, one of the two")
        return self

    @property
    def line(self) -> Line:
        """The one line that there is."""
        line = self.month or self.gpu_hour
        if line is None:
            raise AssertionError("a provider without a price was let through")
        return line


class Claims(_Section):
    """What the source of the prices says of their sum."""

    hardware: Line | None = None
    power_per_month: Line | None = None
    payback_months: Line | None = None


class Prices(_Section):
    """A price file. ``currency`` is a label: nothing is converted."""

    title: Annotated[str, Field(min_length=1)]
    currency: Annotated[str, Field(min_length=1, max_length=8)]
    hardware: Hardware
    gpus: dict[str, Line]
    running: Running
    power: Power
    lifetime_months: Line
    cloud: dict[str, Cloud]
    claims: Claims = Claims()

    def gpu(self, name: str) -> Line:
        """The price of one GPU by any name that the catalogue knows for it.

        Raises:
            SpecError: the file has no price for it.
        """
        wanted = by_name(name)
        for written, line in self.gpus.items():
            if written == name or (wanted is not None and by_name(written) == wanted):
                return line
        raise SpecError(
            f"no price for {name}",
            evidence=f"{self.title}: prices for {', '.join(self.gpus) or 'no GPU'}",
            next_step=f"write it into a price file (gpus: {{{name}: {{low: .., high: .., source: .., date: ..}}}}), "
            "then: ai-how cost --price-file FILE",
        )


@cache
def default_prices() -> Prices:
    """The prices that come with ai-how."""
    return _checked(_default_document())


def parse_prices(text: str, file: str) -> Prices:
    """A user's price file, completed by the defaults.

    Args:
        text: The file's content.
        file: Its name, for messages.

    Raises:
        SpecError: the evidence lists every mistake as ``file:line:column: key: message``.
    """
    document = parse(text, file)
    if document.mistakes and not document.data:
        raise _refusal(file, document.mistakes)
    _complete(document, _default_document().data)
    return _checked(document)


def default_text() -> str:
    """The file of the prices that come with ai-how, to begin one's own with."""
    return files("ai_how.capacity").joinpath("data", "prices.yaml").read_text(encoding="utf-8")


def _default_document() -> Document:
    return parse(default_text(), "prices.yaml")


def _complete(document: Document, default: dict[str, Any]) -> None:
    """Take over the default lines that the file leaves out; prices only where its currency is theirs."""
    document.data.setdefault("title", document.file)
    data, currency = document.data, document.data.get("currency", default["currency"])
    if isinstance(currency, str) and currency != default["currency"]:
        missing = [dotted(key) for key in _MONEY if document.get(key) is None]
        if missing:
            problem = f"is {currency}, and the defaults are in {default['currency']}"
            remedy = f"write {', '.join(missing)} in {currency} too"
            raise _refusal(document.file, [document.at_value(("currency",), problem, remedy)])
        data.setdefault("gpus", {})
    for key, value in default.items():
        if key == "claims":
            continue
        if key not in data:
            data[key] = value
        elif key in ("hardware", "gpus", "running", "power") and isinstance(data[key], dict):
            keep = value if currency == default["currency"] else {k: v for k, v in value.items() if key == "power"}
            data[key] = {**keep, **data[key]}


def _checked(document: Document) -> Prices:
    from ai_how.site.check import check

    _years_as_text(document.data)
    checked = check(Prices, document, remarks={})
    mistakes = [*document.mistakes, *checked.mistakes, *checked.unknown_keys]
    wrong = {mistake.key for mistake in mistakes}
    mistakes += [mistake for mistake in _beyond_the_schema(document) if mistake.key not in wrong]
    if checked.value is None or mistakes:
        raise _refusal(document.file, mistakes)
    return checked.value


def _refusal(file: str, mistakes: list[Mistake]) -> AiHowError:
    return spec_error(file, in_order(mistakes), next_step="correct it and run the command again")


def _years_as_text(value: Any) -> None:
    """YAML reads a year as a number."""
    for key, item in value.items():
        if key == "date" and type(item) is int:
            value[key] = str(item)
        elif isinstance(item, dict):
            _years_as_text(item)


def _beyond_the_schema(document: Document) -> list[Mistake]:
    """What the model cannot say: order, shares, and names that nearly are those of cards."""
    mistakes = []
    for key, line in _lines(document.data, ()):
        known = [line[end] for end in ("low", "mid", "high") if type(line.get(end)) in (int, float)]
        if known != sorted(known):
            mistakes.append(document.at_value(key, "does not rise from low over mid to high", "put them in order"))
        if key in _LIMITS:
            least, most, meaning = _LIMITS[key]
            if any(not least <= value <= most for value in known):
                mistakes.append(document.at_value(key, f"is {meaning}", f"write {least:g} to {most:g}"))
    if document.get(("cloud",)) == {}:
        mistakes.append(document.at_value(("cloud",), "names no provider", "write one, or remove the line"))
    gpus = document.get(("gpus",))
    for name in gpus if isinstance(gpus, dict) else ():
        mistakes += _unknown_gpu(document, name)
    return mistakes


def _lines(data: Any, at: Key) -> list[tuple[Key, dict[str, Any]]]:
    if not isinstance(data, dict):
        return []
    if "low" in data:
        return [(at, data)]
    return [line for key, value in data.items() for line in _lines(value, (*at, key))]


def _unknown_gpu(document: Document, name: str) -> list[Mistake]:
    try:
        find(name)
    except AiHowError as error:
        # a card that the catalogue does not know may be priced; a slip of a known name may not pass unseen
        if error.evidence:
            return [document.at_key(("gpus", name), "is no accelerator in the catalogue", error.evidence)]
    return []
