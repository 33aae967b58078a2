"""The folder that ``deploy export`` writes: our own earlier files go, what others wrote or changed stays.

A hidden file keeps the digests of what was written, so that ours can be told from theirs. ``kubectl apply -f`` does not
read it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from ai_how.errors import ConflictError, SpecError

RECORD = ".ai-how-export"


def write_folder(folder: Path, files: Mapping[str, str], *, force: bool) -> tuple[str, ...]:
    """Write the files, and remove those of an earlier export that are none of them; the names of these.

    Args:
        force: Also where that overwrites or mixes with files that are not ours.

    Raises:
        ConflictError: there are files that are not ours or were changed since; nothing has been written.
        SpecError: the folder cannot be written.
    """
    from ai_how.apply.files import write_atomic, write_json

    try:
        folder.mkdir(parents=True, exist_ok=True)
        ours = _ours(folder)
        theirs = _theirs(folder, files, ours)
        if theirs and not force:
            raise _not_ours(folder, theirs)
        for name, text in files.items():
            write_atomic(folder / name, text, mode=0o644)
        old = tuple(name for name in sorted(ours) if name not in files and (folder / name).is_file())
        for name in old:
            (folder / name).unlink()
        write_json(folder / RECORD, {name: _digest(text.encode()) for name, text in files.items()}, mode=0o644)
    except OSError as error:
        raise SpecError(
            f"{folder} cannot be written", evidence=error.strerror or str(error), next_step="name another folder"
        ) from error
    return old


def _ours(folder: Path) -> dict[str, str]:
    """Digests by name of what an earlier export wrote; nothing where that is not known."""
    from ai_how.apply.files import read_json

    kept = read_json(folder / RECORD)
    found = kept.items() if isinstance(kept, dict) else ()
    return {name: str(digest) for name, digest in found if Path(name).name == name}


def _theirs(folder: Path, files: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    """What must not be lost or be applied with ours by mistake: in a folder of ours only what is in the way."""
    present = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if not ours:
        return [path.name for path in present]
    found = []
    for path in present:
        known = ours.get(path.name)
        changed = known is not None and (not path.is_file() or _digest(path.read_bytes()) != known)
        if changed or (known is None and path.name in files):
            found.append(path.name)
    return found


def _not_ours(folder: Path, names: Sequence[str]) -> ConflictError:
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return ConflictError(
        f"{folder} has files that this command did not write, or that were changed since",
        evidence=shown,
        next_step="name another folder, or add --force: it overwrites those of the same name",
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
