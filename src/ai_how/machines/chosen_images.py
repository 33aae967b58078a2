"""Which image every node of a site is made from, and which of them must be built first. Builds none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ai_how.capacity.demand import all_needs
from ai_how.capacity.types import PlacedNode
from ai_how.errors import NotFoundError
from ai_how.machines.desired import ImageFile, image_name_of
from ai_how.machines.images.recipe import RECIPES
from ai_how.machines.images.store import ImageStore
from ai_how.site.spec import Site


def choose_images(
    site: Site, store: ImageStore, placed: Sequence[PlacedNode], made: Mapping[str, Mapping[str, Any]]
) -> tuple[dict[str, ImageFile], list[str]]:
    """The image of every node: what its disk lies over already, else what the site file names; and names to build.

    Args:
        made: By node, the settings that the machines that are there were made with.

    Raises:
        NotFoundError: the site file names an image that is not there.
        ConflictError: several have the short name that it gives.
    """
    images: dict[str, ImageFile] = {}
    to_build: set[str] = set()
    for node in placed:
        kept = (made.get(node.need.name) or {}).get("image")
        name = str(kept) if kept else _full_name(store, image_name_of(site, node.need))
        image = store.get(name)
        recipe = next((recipe for recipe in RECIPES if recipe.image_name == name), None)
        if image is None and recipe is not None and not kept:
            to_build.add(name)
        size = image.virtual_size_bytes if image else recipe.size_gib * 2**30 if recipe else 0
        images[node.need.name] = ImageFile(name=name, virtual_size_bytes=size)
    return images, sorted(to_build)


def missing_images(site: Site, store: ImageStore) -> dict[str, NotFoundError]:
    """The images that the site file names and that are neither here nor a recipe's; nodes that are there need none."""
    missing: dict[str, NotFoundError] = {}
    for name in sorted({image_name_of(site, need) for need in all_needs(site)}):
        try:
            _full_name(store, name)
        except NotFoundError as error:
            missing[name] = error
    return missing


def _full_name(store: ImageStore, written: str) -> str:
    """A recipe's name stands for the image that it gives today, unless one was brought in in its place; others must be
    there."""
    recipe = next((recipe for recipe in RECIPES if recipe.name == written), None)
    if recipe is None:
        return store.find(written).name
    instead = None if store.get(recipe.image_name) else store.brought_in(written)
    return instead.name if instead else recipe.image_name
