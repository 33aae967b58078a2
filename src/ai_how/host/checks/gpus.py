"""Checks of each GPU: what it is, who has it now, and what else stands between it and a virtual machine."""

from __future__ import annotations

from ai_how.host.check import Check, Verdict
from ai_how.host.checks.compare import version_text
from ai_how.host.checks.iommu import kind, short
from ai_how.host.facts.gpus import Gpu
from ai_how.host.facts.passthrough import PassthroughFacts

# what current vLLM releases need; the requirements ask for less
_COMPUTE_CAPABILITY_VLLM = (7, 5)
_BINDS_BY_ITSELF = ("", "nvidia", "vfio-pci", "pci-stub")
# /proc/PID/comm holds 15 characters
_PERSISTENCE = "nvidia-persistenced"[:15]
_NO_NOUVEAU = "echo blacklist nouveau | sudo tee /etc/modprobe.d/no-nouveau.conf; sudo update-initramfs -u; sudo reboot"


def gpu_checks(gpu: Gpu, facts: PassthroughFacts) -> list[Check]:
    """What stands between one GPU and a guest."""
    checks = [_driver(gpu), _users(gpu, facts), _display(gpu), _reset(gpu), _windows(gpu)]
    return checks + _shares(gpu)


def model_check(gpu: Gpu, *, least: tuple[int, ...], named: bool) -> Check:
    """What a GPU is, and whether models can be served on it.

    Args:
        least: The least compute capability.
        named: Whether a pci.ids database was there to name it.
    """
    return _model(gpu, least=least, named=named) if gpu.supported else _unsupported(gpu)


def _unsupported(gpu: Gpu) -> Check:
    return Check(
        id=f"gpu.{gpu.address}.model",
        title=f"GPU {short(gpu.address)}",
        found=f"{gpu.name}: not supported, left to the host",
        wanted="nothing: models are served on NVIDIA GPUs",
        verdict=Verdict.PASS,
        why="vLLM and CUDA images are for NVIDIA GPUs; another adapter can still drive the host's screen.",
    )


def _model(gpu: Gpu, *, least: tuple[int, ...], named: bool) -> Check:
    capability = gpu.compute_capability
    fix = ""
    if capability is None:
        verdict = Verdict.UNKNOWN
        fix = "Install NVIDIA's driver and ask nvidia-smi, or see ai-how model fit --list-gpus"
    elif capability < least:
        verdict, fix = Verdict.FAIL, f"Use a card of compute capability {version_text(least)} or more"
    elif capability < _COMPUTE_CAPABILITY_VLLM:
        verdict, fix = Verdict.WARN, "Use llama.cpp on it, or a card of the Turing generation or newer for vLLM"
    else:
        verdict = Verdict.PASS
    if not named and gpu.name.endswith(gpu.device.id_text):
        fix = "sudo apt install pci.ids, to know the card by its name" + (f"; {fix}" if fix else "")
    return Check(
        id=f"gpu.{gpu.address}.model",
        title=f"GPU {short(gpu.address)}",
        found=_described(gpu),
        wanted=f"capability {version_text(least)}",
        verdict=verdict,
        why="Older cards lack what inference engines use; current vLLM needs 7.5.",
        fix=fix,
    )


def _described(gpu: Gpu) -> str:
    capability = "{}.{}".format(*gpu.compute_capability) if gpu.compute_capability else "unknown"
    memory = "memory unknown" if gpu.memory_gib is None else f"{gpu.memory_gib:.4g} GiB"
    power = "" if gpu.power_limit_w is None else f", {gpu.power_limit_w} W"
    node = "" if gpu.device.numa_node is None else f", NUMA node {gpu.device.numa_node}"
    sources = f" ({', '.join(gpu.sources)})" if gpu.sources else ""
    return f"{gpu.name}, {memory}, capability {capability}{power}{node}{sources}"


def _driver(gpu: Gpu) -> Check:
    bound = gpu.device.driver
    others = [f"{kind(function)} {function.driver}" for function in gpu.functions if function.driver]
    fix = ""
    if bound == "nouveau":
        verdict, fix = Verdict.WARN, _NO_NOUVEAU
    elif bound in _BINDS_BY_ITSELF:
        verdict = Verdict.PASS
    else:
        verdict, fix = Verdict.WARN, f"sudo apt install driverctl; sudo driverctl set-override {gpu.address} vfio-pci"
    return Check(
        id=f"gpu.{gpu.address}.driver",
        title=f"Driver of {short(gpu.address)}",
        found=", ".join([bound or "none", *others]),
        wanted="vfio-pci, none or nvidia",
        verdict=verdict,
        why="A guest takes the GPU and all its functions from their host drivers; nouveau seldom lets go of a card.",
        fix=fix,
    )


def _users(gpu: Gpu, facts: PassthroughFacts) -> Check:
    users = gpu.users
    named = ", ".join(f"{user.program} (pid {user.pid})" for user in users or ())
    hosts = [user for user in users or () if not user.guest]
    reported = gpu.smi.processes if gpu.smi and not hosts else ()
    fix = ""
    if hosts or reported:
        quiet = bool(hosts) and all(user.program == _PERSISTENCE for user in hosts)
        verdict = Verdict.WARN if quiet else Verdict.FAIL
        pids = " ".join(str(user.pid) for user in hosts or reported)
        fix = "sudo systemctl disable --now nvidia-persistenced" if quiet else f"Stop it first: ps -fp {pids}"
        named = named or ", ".join(f"{process.name} (pid {process.pid})" for process in reported)
    elif users:
        verdict, fix, named = Verdict.WARN, "Stop that guest to use the GPU elsewhere", f"a guest has it: {named}"
    elif users is None:
        verdict, named, fix = Verdict.UNKNOWN, "programs cannot be seen", "ai-how doctor on the machine itself"
    elif facts.partial and gpu.device.driver:
        verdict, named = Verdict.UNKNOWN, "none of this user's; others' cannot be seen"
        fix = "sudo ai-how doctor sees every program"
    else:
        verdict, named = Verdict.PASS, "none"
    return Check(
        id=f"gpu.{gpu.address}.use",
        title=f"Users of {short(gpu.address)}",
        found=named,
        wanted="none",
        verdict=verdict,
        why="A driver that is in use does not let go of the card: the guest's start hangs.",
        fix=fix,
        needs_root=facts.partial,
    )


def _display(gpu: Gpu) -> Check:
    boot, lit = gpu.device.boot_vga, gpu.displays or (("?",) if gpu.smi and gpu.smi.display_active else ())
    fix = ""
    if lit:
        verdict, found = Verdict.FAIL, f"shows the host's screen ({', '.join(lit)})"
        fix = "Connect the screen to another adapter, or run without one: sudo systemctl set-default multi-user.target"
    elif boot and gpu.device.driver != "vfio-pci":
        verdict, found = Verdict.WARN, "firmware's first display (boot VGA)"
        fix = "Choose another adapter as the first display in the firmware's set-up, or bind this one to vfio-pci"
    else:
        known = boot is not None or gpu.device.class_code is None or gpu.device.class_code >> 8 != 0x0300
        verdict = Verdict.PASS
        found = ("firmware's first display, held by vfio-pci" if boot else "not used") if known else "none known"
    return Check(
        id=f"gpu.{gpu.address}.display",
        title=f"Screen of {short(gpu.address)}",
        found=found,
        wanted="not used by the host",
        verdict=verdict,
        why="The host's console keeps the card's memory, and its firmware copy may not start again in a guest.",
        fix=fix,
    )


def _reset(gpu: Gpu) -> Check:
    device = gpu.device
    methods = list(device.reset_methods or ())
    if device.config.function_reset and "flr" not in methods:
        methods.insert(0, "flr")
    none_left = device.reset_methods == () or (device.reset_methods is None and device.resettable is False)
    if methods:
        verdict, found = Verdict.PASS, ", ".join(methods)
    elif none_left:
        verdict, found = Verdict.FAIL, "none"
    elif device.resettable:
        verdict, found = Verdict.PASS, "one that the kernel does not name"
    else:
        verdict, found = Verdict.UNKNOWN, "not in sysfs"
    return Check(
        id=f"gpu.{gpu.address}.reset",
        title=f"Reset of {short(gpu.address)}",
        found=found,
        wanted="flr or bus",
        verdict=verdict,
        why="Without a reset the next guest gets the card as the last one left it, often dead until the host reboots.",
        fix=""
        if verdict is Verdict.PASS
        else f"cat /sys/bus/pci/devices/{gpu.address}/reset_method; move the card to "
        "a slot of its own, so that its bus can be reset",
        needs_root=device.config_denied and not methods,
    )


def _windows(gpu: Gpu) -> Check:
    bars = gpu.device.bars
    lost = [bar for bar in bars if bar.start is None]
    large = max(bars, key=lambda bar: bar.size_bytes, default=None)
    fix = ""
    if lost:
        verdict, found = Verdict.FAIL, f"{_size(lost[0].size_bytes)} window without an address"
        fix = "Switch on Above 4G Decoding (64-bit BAR) in the firmware's set-up"
    elif large is None:
        verdict, found, fix = Verdict.UNKNOWN, "not in sysfs", "ai-how doctor on the machine itself"
    else:
        place = "above 4 GiB" if large.above_4_gib else "below 4 GiB"
        verdict, found = Verdict.PASS, f"{_size(large.size_bytes)} {place}"
        most = max((size for bar in bars for size in bar.possible_bytes), default=0)
        found += f"; resizable up to {_size(most)}" if most > large.size_bytes else ("; resizable" if most else "")
    return Check(
        id=f"gpu.{gpu.address}.windows",
        title=f"BARs of {short(gpu.address)}",
        found=found,
        wanted="each has an address",
        verdict=verdict,
        why="A window without an address makes the card unusable; large ones fit above 4 GiB only.",
        fix=fix,
    )


def _size(size_bytes: int) -> str:
    return f"{size_bytes >> 30} GiB" if size_bytes >= 1 << 30 else f"{max(1, size_bytes >> 20)} MiB"


def _shares(gpu: Gpu) -> list[Check]:
    """SR-IOV and Multi-Instance GPU, of cards that have them."""
    checks = []
    if gpu.device.virtual_functions:
        on = gpu.device.virtual_functions_on
        checks.append(
            Check(
                id=f"gpu.{gpu.address}.sriov",
                title=f"SR-IOV of {short(gpu.address)}",
                found=f"{on} of {gpu.device.virtual_functions} virtual functions on",
                wanted="0 on: whole cards are given to guests",
                verdict=Verdict.FAIL if on else Verdict.PASS,
                why="While virtual functions are in use the card itself cannot be given away.",
                fix=f"echo 0 | sudo tee /sys/bus/pci/devices/{gpu.address}/sriov_numvfs" if on else "",
            )
        )
    if gpu.smi and gpu.smi.mig is not None:
        parts = f", {gpu.smi.mig_devices} instances" if gpu.smi.mig else ""
        checks.append(
            Check(
                id=f"gpu.{gpu.address}.mig",
                title=f"MIG of {short(gpu.address)}",
                found=("on" if gpu.smi.mig else "off") + parts,
                wanted="off: a guest decides on its own",
                verdict=Verdict.WARN if gpu.smi.mig else Verdict.PASS,
                why="The mode stays in the card: a guest would find it cut in parts.",
                fix=f"sudo nvidia-smi -i {gpu.address} -mig 0" if gpu.smi.mig else "",
            )
        )
    return checks
