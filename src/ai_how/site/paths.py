"""Local files and folders that a site file names and that are not there. Looks; opens none.

Only for checking a file: what acts on a site says by itself what it misses, and taking a site down needs none of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ai_how.site.mistakes import Key, Mistake
from ai_how.site.spec import Site
from ai_how.site.yaml_lines import Document

_REMEDIES = {
    ("kubernetes", "kubespray_path"): "write a folder with Kubespray, or remove it: the release is fetched then",
    ("kubernetes", "bundle"): "write the folder of a bundle (ai-how bundle create), or remove it",
    ("stack", "helm_path"): "write Helm's program, or remove it: one is found or fetched then",
}


def path_mistakes(site: Site, document: Document, folder: Path) -> Iterator[Mistake]:
    """What is named and missing, each at its line.

    Args:
        folder: The site file's, where relative paths start.
    """
    for name, cluster in site.planned_clusters.items():
        for (section, key), remedy in _REMEDIES.items():
            if not (cluster.has_stack if section == "stack" else cluster.has_kubernetes):
                continue
            named = getattr(getattr(cluster, section), key)
            path = folder / Path(named).expanduser() if named else None
            if path is not None and not path.exists():
                at: Key = ("clusters", name, section, key)
                yield document.at_value(at, f"there is no {path}", remedy)
