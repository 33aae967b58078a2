"""Is this path a model, which one, and which of its files belong to it?

Owns the choice of format and files. Reads headers and JSON, never weights; changes nothing.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ai_how.errors import SpecError
from ai_how.models import gguf_header, huggingface
from ai_how.models.findings import Findings
from ai_how.models.types import ModelFormat, ModelInfo

# what belongs to a Hugging Face model beside its weights: tokenizer, templates, processors, its card and licence
_TAKEN = (
    "*.json", "*.jinja", "*.txt", "*.tiktoken", "tokenizer.model", "*.spm",
    "*.md", "LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*",
)  # fmt: skip
_LEFTOVERS = ("trainer_state.json", "all_results.json", "train_results.json", "eval_results.json", "*.log.txt")
_TAKEN_FOLDERS = ("additional_chat_templates",)


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A sound model. ``files`` are relative to ``root``, ordered; ``skipped`` are names that were left out."""

    info: ModelInfo
    root: Path
    files: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def inspect(path: Path) -> Checkpoint:
    """Check a Hugging Face or PEFT folder, a GGUF file, or a folder with one GGUF file.

    Raises:
        SpecError: the path is no sound model; the evidence lists every problem.
    """
    try:
        if path.is_dir():
            return _inspect_folder(path)
        if path.is_file():
            return _inspect_gguf(path.parent, path.name, skipped=())
    except OSError as error:
        raise SpecError(
            f"{path} cannot be read",
            evidence=error.strerror or str(error),
            next_step=f"ls -ld {shlex.quote(str(path))}",
        ) from error
    give = "give a folder or a .gguf file"
    if path.is_symlink():
        raise SpecError(f"{path} is a link to {path.readlink()}, which does not exist", next_step=give)
    if path.exists():
        raise SpecError(f"{path} is neither a folder nor a regular file", next_step=give)
    raise SpecError(f"{path} does not exist", evidence=_nearby(path), next_step=give)


def _inspect_folder(folder: Path) -> Checkpoint:
    found = Findings()
    names = _readable_names(folder, found)
    ggufs = [name for name in names if name.lower().endswith(".gguf")]
    full = huggingface.WEIGHTS in names or huggingface.INDEX in names
    if huggingface.ADAPTER_CONFIG in names:
        info, weights = huggingface.inspect_adapter(folder, names, found)
    elif ggufs and not full:
        if len(ggufs) > 1:
            raise SpecError(
                f"{folder} holds {len(ggufs)} GGUF files",
                evidence="\n".join(ggufs[:12]),
                next_step=f"push one of them: ai-how model push {shlex.quote(str(folder / ggufs[0]))} --name NAME",
            )
        _refuse_links_out(folder, ggufs, found)
        found.raise_if_any(folder)
        return _inspect_gguf(folder, ggufs[0], skipped=tuple(name for name in names if name != ggufs[0]))
    elif huggingface.CONFIG in names:
        if not full:
            _suggest_training_checkpoint(folder, found)
        info, weights = huggingface.inspect_full(folder, names, found)
    else:
        _not_a_model(folder, names, found)
    files = sorted(name for name in names if name in weights or _belongs(name))
    _refuse_links_out(folder, files, found)
    found.raise_if_any(folder)
    found.skipped += [name for name in names if name not in files]
    return Checkpoint(
        info=info,
        root=folder,
        files=tuple(files),
        skipped=tuple(sorted(found.skipped)),
        warnings=tuple(found.warnings),
    )


def _inspect_gguf(folder: Path, name: str, *, skipped: tuple[str, ...]) -> Checkpoint:
    found = Findings()
    with found.of_file(name, next_step="copy or download the file again"):
        header = gguf_header.read_header(folder / name)
        metadata = header.metadata
        if metadata.get("split.count", 0) > 1:
            raise SpecError(f"one of {metadata['split.count']} parts; merge them first: llama-gguf-split --merge")
        if metadata.get("general.type", "model") != "model":
            raise SpecError(f"no model but {metadata['general.type']}; push the PEFT folder of an adapter instead")
        context = metadata.get(f"{header.architecture}.context_length")
        return Checkpoint(
            info=ModelInfo(
                format=ModelFormat.GGUF,
                architecture=header.architecture,
                parameters=header.parameters,
                dtype=header.dtype,
                context_tokens=context if isinstance(context, int) else None,
                chat_template=bool(metadata.get("tokenizer.chat_template")),
            ),
            root=folder,
            files=(name,),
            skipped=skipped,
        )
    found.raise_if_any(folder / name)
    raise AssertionError("a GGUF file is either sound or has a problem")


def _readable_names(folder: Path, found: Findings) -> list[str]:
    """Names of the regular files that may belong to a model; links to files count as files.

    Folders are left out, all but those that Transformers itself reads, so that no loop of links can be met.
    """
    names = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.name.startswith("."):
            found.skipped.append(entry.name)
        elif entry.is_dir():
            if entry.name in _TAKEN_FOLDERS and not entry.is_symlink():
                names += [f"{entry.name}/{file.name}" for file in os.scandir(entry) if file.is_file()]
            else:
                found.skipped.append(f"{entry.name}/")
        elif entry.is_file():
            names.append(entry.name)
        elif entry.is_symlink():
            found.problem(
                f"{entry.name}: a link to {Path(entry.path).readlink()}, which does not exist",
                next_step="copy the file that it should point to",
            )
        else:
            found.skipped.append(entry.name)
    return names


def _refuse_links_out(folder: Path, names: Sequence[str], found: Findings) -> None:
    """A link must not carry a file from anywhere else into the store; Hugging Face's cache links to its own blobs."""
    home = folder.resolve()
    homes = [home]
    if home.parent.name == "snapshots":
        homes.append(home.parent.parent / "blobs")
    for name in names:
        target = (folder / name).resolve()
        if not any(target.is_relative_to(one) for one in homes):
            found.problem(
                f"{name}: a link out of the model's folder, to {target}",
                next_step="put the file itself into the folder, if it belongs to the model",
            )


def _belongs(name: str) -> bool:
    if any(fnmatch(name, pattern) for pattern in _LEFTOVERS) or name == huggingface.INDEX:
        return False
    return "/" in name or any(fnmatch(name, pattern) for pattern in _TAKEN)


def _not_a_model(folder: Path, names: Sequence[str], found: Findings) -> None:
    _suggest_training_checkpoint(folder, found)
    if names:
        some = ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")
        found.problem(f"no {huggingface.CONFIG}, no {huggingface.ADAPTER_CONFIG} and no .gguf file; it has: {some}")
    else:
        found.problem("there are no files in it")
    found.next_step = found.next_step or "give the folder that training wrote, or a .gguf file"
    found.raise_if_any(folder)


def _suggest_training_checkpoint(folder: Path, found: Findings) -> None:
    """Training that was broken off leaves its last state below the folder where the model would be."""
    steps = {
        int(match[1]): entry for entry in folder.iterdir() if (match := re.fullmatch(r"checkpoint-(\d+)", entry.name))
    }
    if steps:
        last = steps[max(steps)]
        found.next_step = f"push the last training checkpoint: ai-how model push {shlex.quote(str(last))} --name NAME"


def _nearby(path: Path) -> str:
    import difflib

    parent = path.parent
    if not parent.is_dir():
        return f"there is no folder {parent} either"
    near = difflib.get_close_matches(path.name, [entry.name for entry in parent.iterdir()], n=3)
    return f"in {parent.absolute()} there is: {', '.join(near)}" if near else ""
