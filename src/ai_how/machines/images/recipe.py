"""What goes into an image: packages and a provisioning script, the same for the native build and for Packer. Pure.

The recipe's digest is part of the image's name: the same inputs give the same name, and an image of that name that is
there already is not built again.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from importlib.resources import files

from ai_how.errors import NotFoundError
from ai_how.machines.images import layout

FORMAT = 2
"""Raised when the way of building changes what an image holds."""
FACTS_FILE = "/etc/ai-how-image"
"""Where provisioning notes what it made: lines of ``name=value``."""

_SYSTEM = (
    "systemd-sysv", "systemd-resolved", "systemd-timesyncd", "dbus", "udev", "kmod", "iproute2", "netplan.io",
    "ca-certificates", "openssh-server", "sudo", "locales-all", "tzdata",
    "cloud-init", "cloud-guest-utils", "e2fsprogs", "gdisk", "qemu-guest-agent",
    # unpacked faster than gzip at each boot
    "zstd",
)  # fmt: skip
# what Kubernetes' installer and Ansible expect of a machine: all that Kubespray would install is here already
_NODE = (
    "apparmor", "bash-completion", "iputils-ping", "libseccomp2", "openssl",
    "python3", "python3-apt", "apt-transport-https", "gnupg", "curl", "rsync", "unzip", "tar",
    "conntrack", "ebtables", "ethtool", "ipset", "iptables", "ipvsadm", "nftables", "socat",
    "nfs-common", "open-iscsi", "xfsprogs", "pciutils",
)  # fmt: skip
# what NVIDIA's container toolkit passes on from the host, where the GPU Operator brings no driver
_NVIDIA = (
    "linux-headers-amd64", "nvidia-kernel-dkms", "firmware-nvidia-gsp", "nvidia-smi", "nvidia-persistenced",
    "nvidia-modprobe", "libcuda1", "libnvidia-nvvm4", "libnvidia-ptxjitcompiler1", "nvidia-cuda-mps",
)  # fmt: skip
# cloud-init writes networkd's own files where there is no netplan, a Python program that takes seconds under emulation;
# a machine's clock starts as its host's, and a test does not live long enough for it to go wrong
_LEFT_OUT = {"locales-all", "netplan.io", "systemd-timesyncd"}
_SMALLER = tuple(name for name in _SYSTEM if name not in _LEFT_OUT)
# No self-tests. Keys, key derivation and a source of randomness that nothing here uses each have the kernel start
# programs of the initramfs, or measure itself, for seconds. What guards a machine stays. Where an image of another kind
# is made from this one, provisioning takes all of them away, from the first on.
_QUICK_KERNEL = (
    "cryptomgr.notests", "initcall_blacklist=init_encrypted,crypto_kdf108_init,jent_mod_init",
    "audit=0", "psi=0", "nowatchdog",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One kind of image.

    ``components`` are the archive's areas that packages come from. ``script`` runs as root in the image's tree, after
    the packages are installed, with the settings of ``environment``. ``kernel_options`` are of the native build alone:
    a disk that Packer starts from has a boot loader of its own.
    """

    name: str
    summary: str
    suite: str = "trixie"
    kernel: str = "linux-image-cloud-amd64"
    packages: tuple[str, ...] = ()
    components: tuple[str, ...] = ("main",)
    environment: tuple[tuple[str, str], ...] = ()
    kernel_options: tuple[str, ...] = ()
    size_gib: int = 4

    @property
    def digest(self) -> str:
        """Twelve hex digits over everything that the image is made of."""
        disk = layout.partition_script(size_mib=self.size_gib * 1024) + layout.grub_config("")
        made_of = {"format": FORMAT, "script": provisioning_script(), "disk": disk, **asdict(self)}
        del made_of["summary"]
        return hashlib.sha256(json.dumps(made_of, sort_keys=True).encode()).hexdigest()[:12]

    @property
    def image_name(self) -> str:
        return f"{self.name}-{self.digest}"

    @property
    def all_packages(self) -> tuple[str, ...]:
        """Kernel included, ordered, each once."""
        return tuple(sorted({self.kernel, *self.packages}))


def provisioning_script() -> str:
    """The shell script that turns Debian into a node; see its head for its settings."""
    return files("ai_how.machines.images").joinpath("provision.sh").read_text(encoding="utf-8")


RECIPES: tuple[Recipe, ...] = (
    Recipe(
        name="cloud-base",
        summary="Debian 13 for Kubernetes nodes: cloud-init, guest agent, SSH, modules and sysctls, no swap",
        packages=(*_SYSTEM, *_NODE),
        environment=(("KUBERNETES_NODE", "yes"),),
    ),
    Recipe(
        name="cloud-gpu-worker",
        summary="cloud-base with the NVIDIA driver of Debian's non-free area, for GPUs passed through",
        # the cloud kernel has no DRM, and the driver is built for the kernel that is there
        kernel="linux-image-amd64",
        packages=(*_SYSTEM, *_NODE, *_NVIDIA),
        components=("main", "contrib", "non-free", "non-free-firmware"),
        environment=(("KUBERNETES_NODE", "yes"), ("NVIDIA_DRIVER", "yes")),
        size_gib=10,
    ),
    Recipe(
        name="cloud-minimal",
        summary="Debian 13 with cloud-init, guest agent and SSH alone: small and quick to boot",
        packages=(*_SMALLER, "python3"),
        environment=(("QUICK_BOOT", "yes"),),
        kernel_options=_QUICK_KERNEL,
        size_gib=3,
    ),
)


def find_recipe(name: str, *, containerd: bool = False) -> Recipe:
    """The recipe of a name, with Debian's containerd where wanted (Kubespray brings its own otherwise).

    Raises:
        NotFoundError: there is none.
    """
    found = next((recipe for recipe in RECIPES if recipe.name == name), None)
    if found is None:
        raise NotFoundError(
            f"there is no image recipe {name!r}",
            evidence="recipes: " + ", ".join(recipe.name for recipe in RECIPES),
            next_step="ai-how image list",
        )
    return replace(found, packages=(*found.packages, "containerd")) if containerd else found
