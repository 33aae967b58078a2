"""The same recipe as a Packer template: the qemu builder over a disk that is there already. Pure.

Packages and provisioning come from the recipe; nothing is written a second time. Source: Packer's qemu builder and its
HCL2 templates, as of 1.6 (Debian 12) and later.
"""

from __future__ import annotations

import json

from ai_how.machines.images.bootstrap import provision_words
from ai_how.machines.images.recipe import FACTS_FILE, Recipe

USER = "packer"
KEY, SEED, SCRIPT = "login", "seed.iso", "provision.sh"
FACTS, STATUS = "facts", "status"
"""What the build leaves beside its output: what provisioning noted, and dpkg's list of packages."""
TEMPLATE, PLUGINS = "image.pkr.hcl", "plugins.pkr.hcl"
_UPLOADED = "/tmp/provision.sh"  # noqa: S108 - in the machine that is being made, which has no other users

_PLUGINS_TEXT = """\
# For Packer 1.7 and later: packer init .
# Older ones have the qemu builder built in, and do not know this block: packer build image.pkr.hcl
packer {
  required_plugins {
    qemu = {
      source  = "github.com/hashicorp/qemu"
      version = ">= 1.0.0"
    }
  }
}
"""
_VARIABLES = """\
variable "accelerator" {
  type    = string
  default = "kvm"
}

variable "output" {
  type    = string
  default = "output"
}

variable "compress" {
  type    = bool
  default = true
}
"""


def packer_files(recipe: Recipe, *, base: str, base_sha256: str, script: str) -> dict[str, str]:
    """The template's text files by name; the key and the seed that it names are made beside them.

    Args:
        base: Path of the disk to start from: Debian with cloud-init.
        script: The provisioning script.
    """
    return {TEMPLATE: _template(recipe, base=base, base_sha256=base_sha256), PLUGINS: _PLUGINS_TEXT, SCRIPT: script}


def _template(recipe: Recipe, *, base: str, base_sha256: str) -> str:
    head = f"# Rendered from recipe {recipe.name} by: ai-how image packer {recipe.name}\n"
    return f"{head}{_VARIABLES}\n{_source(recipe, base=base, base_sha256=base_sha256)}\n{_build(recipe)}"


def _source(recipe: Recipe, *, base: str, base_sha256: str) -> str:
    """The machine that the image is made in."""
    forget = f"userdel --force --remove {USER}; rm -f /etc/sudoers.d/90-cloud-init-users; systemctl poweroff"
    return f"""\
source "qemu" "image" {{
  accelerator          = var.accelerator
  disk_image           = true
  iso_url              = {json.dumps(base)}
  iso_checksum         = "sha256:{base_sha256}"
  disk_size            = "{recipe.size_gib}G"
  disk_interface       = "virtio"
  format               = "qcow2"
  disk_compression     = var.compress
  skip_compaction      = !var.compress
  machine_type         = "q35"
  cpus                 = 2
  memory               = 2048
  headless             = true
  qemuargs = [
    ["-cdrom", "{SEED}"],
    ["-display", "none"],
    # Packer's own would be reached from the whole network
    ["-netdev", "user,id=build,hostfwd=tcp:127.0.0.1:{{{{ .SSHHostPort }}}}-:22"],
    ["-device", "virtio-net,netdev=build"],
  ]
  ssh_username         = "{USER}"
  ssh_private_key_file = "{KEY}"
  ssh_timeout          = "15m"
  shutdown_command     = {json.dumps(f"sudo sh -c '{forget}'")}
  shutdown_timeout     = "10m"
  output_directory     = var.output
  vm_name              = "{recipe.image_name}.qcow2"
}}
"""


def _build(recipe: Recipe) -> str:
    """What is done in it, and what is taken from it beside its disk."""
    provision = " ".join(["sudo", *provision_words(recipe, _UPLOADED)])
    return f"""\
build {{
  sources = ["source.qemu.image"]

  provisioner "shell" {{
    inline = {_lines(_install(recipe))}
  }}
  provisioner "file" {{
    source      = "{SCRIPT}"
    destination = "{_UPLOADED}"
  }}
  provisioner "shell" {{
    inline = {_lines([provision, f"rm {_UPLOADED}"])}
  }}
  provisioner "file" {{
    direction   = "download"
    source      = "{FACTS_FILE}"
    destination = "{FACTS}"
  }}
  provisioner "file" {{
    direction   = "download"
    source      = "/var/lib/dpkg/status"
    destination = "{STATUS}"
  }}
}}
"""


def _install(recipe: Recipe) -> list[str]:
    """Shell commands that install the recipe's packages."""
    return [
        "set -e",
        f"packages={json.dumps(' '.join(recipe.all_packages))}",
        # what is there already needs no network
        "dpkg-query --show $packages >/dev/null 2>&1 && exit 0",
        *([] if recipe.components == ("main",) else [_areas(recipe)]),
        "sudo apt-get update",
        "sudo DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $packages",
    ]


def _lines(words: list[str]) -> str:
    return "[\n" + "".join(f"      {json.dumps(word)},\n" for word in words) + "    ]"


def _areas(recipe: Recipe) -> str:
    """A command that has apt take packages from all of the recipe's areas, in either form of its settings."""
    areas = " ".join(recipe.components)
    edit = f"s/^(deb .*) main.*$/\\1 {areas}/; s/^Components: *main.*$/Components: {areas}/"
    return f"sudo find /etc/apt -name '*.list' -o -name '*.sources' | xargs sudo sed -E -i '{edit}'"
