"""``ai-how bench list``, and the results that other commands of ``bench`` name."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ai_how.cli.options import output_option, site_option
from ai_how.cli.output import print_json, print_table
from ai_how.errors import AiHowError

if TYPE_CHECKING:
    from ai_how.bench.kept import Kept
    from ai_how.bench.result import Result


@click.command(name="list")
@click.argument("endpoint", required=False)
@site_option
@output_option
def list_kept(endpoint: str | None, site_path: Path | None, output: str) -> None:
    """List the results that are kept of this site, or of ENDPOINT; the newest first.

    They stay after `down`, and when their endpoint is deleted.

    \b
    Example:
      ai-how bench list my-model
    """
    from ai_how.bench.kept import kept_results

    found = kept_results(_reports_dir(site_path), endpoint)
    if output == "json":
        print_json([_data(kept) for kept in found])
        return
    print_table(
        ("RESULT", "STARTED", "AT ONCE", "VERDICT"),
        [_row(kept) for kept in found],
        empty=f"no result is kept{f' of {endpoint}' if endpoint else ''}; measure: ai-how bench run ENDPOINT",
    )


def load_result(name: str | None, site_path: Path | None) -> Result:
    """A result by its file or its name; the site's newest one without either.

    Raises:
        NotFoundError: there is none.
        SpecError: the file is no result.
    """
    from ai_how.bench.kept import find_kept
    from ai_how.bench.result import from_json

    file = Path(name) if name else None
    if file is None or not file.is_file():
        file = find_kept(_reports_dir(site_path), name)
    return from_json(file.read_text(encoding="utf-8", errors="replace"))


def complete_kept(context: click.Context, _parameter: click.Parameter, typed: str) -> list[str]:
    """Names of kept results for the shell."""
    from ai_how.bench.kept import kept_results

    try:
        found = kept_results(_reports_dir(context.params.get("site_path")))
    except (AiHowError, OSError):
        return []
    return [kept.name for kept in found if kept.name.startswith(typed)]


def _reports_dir(site_path: Path | None) -> Path:
    from ai_how.apply.site_folder import SiteFolder, site_root
    from ai_how.site.load import find_site, load_site

    path = site_path or find_site(Path.cwd())
    return SiteFolder(root=site_root(load_site(path), path)).reports


def _row(kept: Kept) -> tuple[str, str, str, str]:
    if kept.result is None:
        return kept.name, "-", "-", f"not readable: {kept.trouble}"
    levels = ",".join(str(level.concurrency) for level in kept.result.levels)
    outcomes = Counter(row.outcome for row in kept.result.verdict)
    words = [f"{number} {outcome}" for outcome, number in outcomes.items()]
    said = ", ".join(["interrupted", *words] if kept.result.interrupted else words)
    return kept.name, kept.result.started_at[:16].replace("T", " "), levels, said or "-"


def _data(kept: Kept) -> dict[str, object]:
    if kept.result is None:
        return {"name": kept.name, "file": str(kept.file), "trouble": kept.trouble}
    return {
        "name": kept.name,
        "file": str(kept.file),
        "endpoint": kept.result.endpoint.name,
        "model": kept.result.endpoint.model,
        "started_at": kept.result.started_at,
        "interrupted": kept.result.interrupted,
        "concurrencies": [level.concurrency for level in kept.result.levels],
        "verdict": {row.metric: row.outcome for row in kept.result.verdict},
    }
