"""The chat template of a checkpoint, and the one that several adapters on one base agree on. Reads JSON and text only.

Source of the files and their order: llama.cpp's ``gguf.SpecialVocab``, which reads those of a base.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_how.errors import SpecError


def read_template(folder: Path) -> str | None:
    """The chat template that a checkpoint or an adapter brings; None where it brings none."""
    text = _of_config(folder / "tokenizer_config.json")
    if text is None and (folder / "chat_template.jinja").is_file():
        text = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    return text if text is not None else _of_config(folder / "chat_template.json")


def agreed_template(base: Path, adapters: Mapping[str, Path], *, base_is_served: bool) -> Path | None:
    """The folder whose template is for all that is served; None where it is the base's own, or there is none.

    Raises:
        SpecError: there are several: the engine has one for all requests.
    """
    of_base = read_template(base)
    # an adapter without one was trained with its base's
    found = {name: read_template(folder) or of_base for name, folder in adapters.items()}
    if base_is_served:
        found[""] = of_base
    different = {text for text in found.values() if text is not None}
    if len(different) > 1:
        names = ", ".join(name or "the base" for name, text in found.items() if text is not None)
        raise SpecError(
            "these adapters cannot share a base: their chat templates differ",
            evidence=f"compared: {names}",
            next_step="give each an endpoint of its own (model_type: adapter), or push them with the same template",
        )
    if not different or different == {of_base}:
        return None
    return next(folder for name, folder in adapters.items() if found[name] is not None)


def _of_config(file: Path) -> str | None:
    if not file.is_file():
        return None
    try:
        content: Any = json.loads(file.read_bytes())
    except ValueError as error:
        raise SpecError(f"{file.name} is damaged", evidence=str(error), next_step="push the model again") from error
    template = content.get("chat_template") if isinstance(content, dict) else None
    if isinstance(template, list):
        named = {each.get("name"): each.get("template") for each in template if isinstance(each, dict)}
        template = named.get("default")
    return template if isinstance(template, str) else None
