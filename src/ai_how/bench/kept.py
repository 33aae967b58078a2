"""Results of endpoints that a site keeps in its folder of reports, beside those of roll-outs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ai_how.bench.result import Result, from_json, is_other_report
from ai_how.errors import AiHowError, NotFoundError


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A file of a site's reports; ``result`` is None where it cannot be read, and ``trouble`` says why."""

    file: Path
    result: Result | None
    trouble: str = ""

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.file.stem


def kept_results(folder: Path, endpoint: str | None = None) -> list[Kept]:
    """All results of a folder, or those of one endpoint; the newest first."""
    found = [kept for file in folder.glob("*.json") if (kept := _read(file))]
    chosen = [kept for kept in found if endpoint is None or (kept.result and kept.result.endpoint.name == endpoint)]
    return sorted(chosen, key=lambda kept: (kept.result.started_at if kept.result else "", kept.name), reverse=True)


def find_kept(folder: Path, name: str | None = None) -> Path:
    """The file of a result by its name; of the newest one where no name is given.

    Raises:
        NotFoundError: there is none.
    """
    measure = "ai-how bench run ENDPOINT"
    if name is None:
        readable = [kept for kept in kept_results(folder) if kept.result]
        if not readable:
            raise NotFoundError("no result is kept of this site", evidence=f"looked in {folder}", next_step=measure)
        return readable[0].file
    file = folder / f"{name.removesuffix('.json')}.json"
    # a name, not a way out of the folder
    if file.parent != folder or not file.is_file():
        raise NotFoundError(
            f"no result {name}", evidence=f"neither a file nor in {folder}", next_step="kept ones: ai-how bench list"
        )
    return file


def _read(file: Path) -> Kept | None:
    """None for the report of a roll-out."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
        return None if is_other_report(text) else Kept(file=file, result=from_json(text))
    except OSError as error:
        return Kept(file=file, result=None, trouble=error.strerror or str(error))
    except AiHowError as error:
        return Kept(file=file, result=None, trouble=f"{error.brief}: {error.evidence}")
