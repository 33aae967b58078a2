"""Writes a Packer template's folder: the rendered files, a login key, and the seed that lets it in."""

from __future__ import annotations

from pathlib import Path

from ai_how.errors import ConflictError
from ai_how.machines.images.packer import KEY, SEED, USER, packer_files
from ai_how.machines.images.recipe import Recipe, provisioning_script
from ai_how.machines.keys import KeyPair, make_key
from ai_how.machines.seed import Seed, seed_image

# the first network card that QEMU makes has this address
_FIRST_CARD_MAC = "52:54:00:12:34:56"


def write_packer_folder(out: Path, recipe: Recipe, *, base: Path, base_sha256: str) -> None:
    """Make a folder that ``packer build`` can work in.

    Raises:
        ConflictError: it exists already.
    """
    try:
        out.mkdir(parents=True, mode=0o700)
    except FileExistsError as error:
        raise ConflictError(f"{out} exists already", next_step="name another folder, or remove that one") from error
    files = packer_files(recipe, base=str(base), base_sha256=base_sha256, script=provisioning_script())
    for name, text in files.items():
        (out / name).write_text(text, encoding="utf-8")
    login, host = KeyPair(private=out / KEY), KeyPair(private=out / "host")
    make_key(login)
    make_key(host)
    seed = Seed(
        hostname=recipe.name,
        domain="packer.internal",
        user=USER,
        authorized_keys=(login.public,),
        host_key=host.private.read_text(encoding="utf-8"),
        host_key_public=host.public,
        interfaces=(_FIRST_CARD_MAC,),
    )
    (out / SEED).write_bytes(seed_image(seed))
    # only the seed needs them
    host.private.unlink()
    host.public_file.unlink()
