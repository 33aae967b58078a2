"""Fetches a model from the Hugging Face Hub, for ``hf://org/name[@revision]``.

Owns the form of the address. Needs the optional package ``huggingface_hub``, which keeps its own resumable cache.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

from ai_how.errors import MissingToolError, NotFoundError, SpecError, TryAgainError

SCHEME = "hf://"
_ADDRESS = re.compile(r"hf://(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?")
# pickles and other frameworks' weights are never taken: do not fetch them
_IGNORED = ["*.bin", "*.pt", "*.pth", "*.ckpt", "*.h5", "*.msgpack", "*.onnx", "*.onnx_data", "original/*", "onnx/*"]


def fetch(address: str, cache_dir: Path) -> tuple[Path, str]:
    """Fetch a model into the cache; returns its folder, and its address with the commit that it is at.

    Raises:
        SpecError: the address is not ``hf://org/name`` or ``hf://org/name@revision``.
        MissingToolError: ``huggingface_hub`` is not installed.
        NotFoundError: there is no such model or revision, or it wants a login.
        TryAgainError: the hub could not be reached.
    """
    match = _ADDRESS.fullmatch(address)
    if not match:
        raise SpecError(
            f"{address} is no address of a model on the hub",
            next_step="write it as hf://org/name or hf://org/name@main",
        )
    try:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import (
            HfHubHTTPError,
            LocalEntryNotFoundError,
            RepositoryNotFoundError,
            RevisionNotFoundError,
        )
        from huggingface_hub.utils.tqdm import disable_progress_bars
    except ImportError as error:
        raise MissingToolError(
            "models from the Hugging Face Hub need one more package",
            evidence="huggingface_hub is not installed beside ai-how",
            next_step=shlex.join([sys.executable, "-m", "pip", "install", "huggingface_hub"]),
        ) from error
    if not sys.stderr.isatty():
        disable_progress_bars()
    repo, revision = match["repo"], match["revision"]
    try:
        folder = Path(snapshot_download(repo, revision=revision, cache_dir=cache_dir, ignore_patterns=_IGNORED))
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise NotFoundError(
            f"the hub has no model {address} for us",
            evidence=_said(error),
            next_step="check the name; a gated or private model needs a login: hf auth login",
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise TryAgainError(
            f"{address} could not be fetched",
            evidence=_said(error),
            next_step="check the network, then run the same command again: it goes on where it was",
        ) from error
    # the snapshot's folder is named after the commit
    return folder, f"{SCHEME}{repo}@{folder.name}"


def _said(error: Exception) -> str:
    """The hub's own words, without empty lines; there may be many."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return "\n".join(lines[:3]) or type(error).__name__
