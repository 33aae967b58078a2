"""What spans the serving section and the rest of the site: keys that have no meaning where the site runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from ai_how.site.mistakes import Mistake
from ai_how.site.spec import Site
from ai_how.site.yaml_lines import Document


def serving_mistakes(site: Site, document: Document) -> Iterator[Mistake]:
    """What cannot work, each at its line."""
    serving = site.serving
    if serving.when_idle == "sleep":
        yield from _sleep(site, document)


def _sleep(site: Site, document: Document) -> Iterator[Mistake]:
    at = ("serving", "when_idle")
    if site.provider != "local":
        problem = "sleep is for provider local: in a cluster a pod that sleeps would keep its GPU from all others"
        yield document.at_value(at, problem, "write stop, or leave it out")
    elif site.serving.engine == "llamacpp":
        yield document.at_value(at, "sleep is what vLLM can do, and engine is llamacpp", "write stop, or engine: auto")
