"""Kubespray's source in a bundle: the pack of its release's commit, as git keeps it.

git takes every object's name from its content when it reads a pack anew, so what comes out again is that commit or
nothing, whatever happened to the bundle on its way.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ai_how.bundles.manifest import Blob, Entry
from ai_how.bundles.store import digest_of
from ai_how.errors import AiHowError, ProviderError
from ai_how.kubernetes.checkout import SOURCE, Checkout, fetched_checkout
from ai_how.run.process import run

_NAME = "kubespray"
_TIMEOUT_S = 300
_PLAIN = {"GIT_TERMINAL_PROMPT": "0", "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


@contextmanager
def packed(checkout: Checkout) -> Iterator[tuple[Entry, Path]]:
    """A verified checkout as an entry, with its file while the block lasts."""
    with tempfile.TemporaryDirectory(prefix="ai-how-") as text:
        bare = Path(text) / "kubespray.git"
        words = ["git", "clone", "--quiet", "--bare", "--depth", "1", "--branch", f"v{checkout.version}"]
        run([*words, checkout.path.absolute().as_uri(), bare], env=_PLAIN, timeout_s=_TIMEOUT_S)
        # one pack, whatever the clone left
        run(["git", "-C", bare, "repack", "-a", "-d", "-q"], env=_PLAIN, timeout_s=_TIMEOUT_S)
        pack = next((bare / "objects" / "pack").glob("*.pack"))
        blob = Blob(digest=digest_of(pack), size_bytes=pack.stat().st_size)
        source = f"{SOURCE}@{checkout.commit}"
        yield Entry(kind="source", name=_NAME, source=source, version=checkout.version, blobs=(blob,)), pack


def unpack(entry: Entry, pack: Path) -> Checkout:
    """Put the source where ``up`` takes it: into the user's cache, verified by its commit id.

    Raises:
        ProviderError: it is not that release.
    """
    commit = entry.source.rpartition("@")[2]
    with tempfile.TemporaryDirectory(prefix="ai-how-") as text:
        bare = Path(text) / "kubespray.git"
        run(["git", "init", "--quiet", "--bare", bare], env=_PLAIN)
        copied = bare / "objects" / "pack" / "pack-bundle.pack"
        shutil.copyfile(pack, copied)
        try:
            run(["git", "-C", bare, "index-pack", copied], env=_PLAIN, timeout_s=_TIMEOUT_S)
            (bare / "shallow").write_text(f"{commit}\n", encoding="utf-8")
            run(["git", "-C", bare, "update-ref", f"refs/tags/v{entry.version}", commit], env=_PLAIN)
        except AiHowError as error:
            raise ProviderError(
                f"the bundle's Kubespray {entry.version} cannot be read",
                evidence=error.evidence or error.brief,
                next_step="copy or create the bundle again",
            ) from error
        return fetched_checkout(entry.version, source=bare.as_uri())
