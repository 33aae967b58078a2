"""The provider ``libvirt``: observes a site's hosts, and does the actions of a plan on them."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ai_how.apply.files import shared_cache
from ai_how.apply.provider import ComponentStatus, Say
from ai_how.apply.site_folder import SiteFolder, remove_folder, site_root
from ai_how.apply.state import State
from ai_how.capacity.demand import hosts_of
from ai_how.capacity.types import PlacedNode
from ai_how.errors import NotFoundError, ProviderError
from ai_how.host.site_hosts import observe_site_hosts
from ai_how.machines import domains, networks, storage
from ai_how.machines.connection import Connect, open_connection
from ai_how.machines.desired import (
    BUILD,
    IMAGE_PREFIX,
    KEYS,
    Desired,
    HostSetting,
    ImageFile,
    MachineWish,
    desired_of,
    image_name_of,
    resources,
)
from ai_how.machines.images.recipe import RECIPES, find_recipe
from ai_how.machines.images.store import ImageStore
from ai_how.machines.keys import Keys
from ai_how.machines.marks import network_name, object_uuid
from ai_how.machines.placing import place_nodes
from ai_how.machines.ready import wait_ready
from ai_how.machines.seed import Seed, seed_image
from ai_how.machines.serial_log import readable
from ai_how.machines.types import Virtualization
from ai_how.machines.virtualization import guests_run
from ai_how.machines.world import HostWorld, observe_all, observed_resources, ours
from ai_how.plan.compute import changes_since, compute_plan
from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, Verb
from ai_how.run.ssh import SshTarget, jump_of
from ai_how.site.spec import Site

USER = "ai-how"
"""The account on machines that may log in and become root."""
STOP_TIMEOUT_S = 120
START_TIMEOUT_S = 900
"""A machine that is emulated beside others takes minutes until cloud-init has finished."""


@dataclass(frozen=True, kw_only=True)
class Sight:
    """What one look at the hosts gave: what is wanted there, and what is there."""

    wanted: Desired
    worlds: Mapping[str, HostWorld]
    observed: dict[str, Observed]


class LibvirtProvider:
    """One site on libvirt hosts."""

    def __init__(self, site: Site, site_file: Path) -> None:
        self.site = site
        self.site_file = site_file
        self.folder = SiteFolder(root=site_root(site, site_file))
        self.state = State(self.folder, site.name)
        self.keys = Keys(self.folder.secrets)
        self.store = ImageStore(shared_cache() / "images")
        self.hosts = {host.name: host for host in hosts_of(site)}

    @property
    def owner(self) -> str:
        """What tells this site from another one of the same name on the same host."""
        return str(self.folder.root)

    @property
    def parallel(self) -> int:
        """How many actions at once: what starts a machine keeps about one core busy."""
        return max(2, os.cpu_count() or 2)

    @cached_property
    def connections(self) -> dict[str, Connect]:
        """A connection to every host, made side by side."""
        with ThreadPoolExecutor(max_workers=len(self.hosts)) as pool:
            opened = pool.map(lambda host: open_connection(host.uri), self.hosts.values())
            return dict(zip(self.hosts, opened, strict=True))

    def plan(self) -> Plan:
        """What ``up`` would do now. Changes nothing."""
        sight = self.look
        return compute_plan(self.site.name, resources(sight.wanted), sight.observed)

    def check_unchanged(self, plan: Plan) -> list[str]:
        """What is no longer as it was when the plan was made; empty where it can be applied."""
        return changes_since(plan, self.look.observed)

    @cached_property
    def look(self) -> Sight:
        """What is wanted and what is there, looked at once: a command acts on one look at the world."""
        machines = {
            str(found.mark["node"]): (host, found.mark.get("settings") or {})
            for host, connect in self.connections.items()
            for found in domains.observe_machines(connect, site=self.site.name).values()
            if "node" in found.mark
        }
        capacities = observe_site_hosts(self.site)
        placed = place_nodes(self.site, capacities, kept={node: host for node, (host, _) in machines.items()})
        images, to_build = self._images(placed, {node: made for node, (_, made) in machines.items()})
        wanted = desired_of(
            self.site,
            placed,
            owner=self.owner,
            hosts={name: self._host_setting(name, machines) for name in self.hosts},
            images=images,
            to_build=to_build,
        )
        worlds = observe_all(self.connections, wanted, site=self.site.name, owner=self.owner)
        observed = observed_resources(worlds, wanted, ready=self.state.resources())
        trouble = self.keys.problem(list(wanted.machines))
        condition = Condition.FAILING if trouble else Condition.HEALTHY
        made: dict[str, Any] | None = {} if self.keys.login.whole else None
        observed[KEYS] = Observed(name=KEYS, condition=condition, settings=made, detail=trouble or "")
        return Sight(wanted=wanted, worlds=worlds, observed=observed)

    def _host_setting(self, name: str, machines: Mapping[str, tuple[str, Mapping[str, Any]]]) -> HostSetting:
        host = self.hosts[name]
        kept = next((made["virtualization"] for where, made in machines.values() if where == name and made), None)
        return HostSetting(
            name=name,
            uri=host.uri,
            storage_path=host.storage_path,
            virtualization=self._virtualization(host.uri, kept),
        )

    def _virtualization(self, uri: str, kept: str | None) -> Virtualization:
        """As the site file says; ``auto`` keeps what a host's machines have, else asks whether guests really run."""
        if self.site.virtualization != "auto":
            return Virtualization(self.site.virtualization)
        if kept is not None:
            return Virtualization(kept)
        return Virtualization.KVM if guests_run(uri) else Virtualization.EMULATED

    def _images(
        self, placed: tuple[PlacedNode, ...], made: Mapping[str, Mapping[str, Any]]
    ) -> tuple[dict[str, ImageFile], list[str]]:
        """The image of every node: what its disk lies over already, else what the site file names."""
        images: dict[str, ImageFile] = {}
        to_build: set[str] = set()
        for node in placed:
            kept = (made.get(node.need.name) or {}).get("image")
            name = str(kept) if kept else self._image_name(image_name_of(self.site, node.need))
            image = self.store.get(name)
            recipe = next((recipe for recipe in RECIPES if recipe.image_name == name), None)
            if image is None and recipe is not None and not kept:
                to_build.add(name)
            size = image.virtual_size_bytes if image else recipe.size_gib * 2**30 if recipe else 0
            images[node.need.name] = ImageFile(name=name, virtual_size_bytes=size)
        return images, sorted(to_build)

    def _image_name(self, written: str) -> str:
        """A recipe's name stands for the image that it gives today; another name must be there."""
        recipe = next((recipe for recipe in RECIPES if recipe.name == written), None)
        return recipe.image_name if recipe else self.store.find(written).name

    def perform(self, action: Action, resource: Resource | None) -> str:
        """Do one action of a plan; says in a few words how it ended."""
        kind, _, rest = action.resource.partition("/")
        if resource is None:
            return self._delete(action.resource)
        do: dict[str, Callable[[str, Resource, Action], str]] = {
            KEYS: self._make_keys,
            BUILD.rstrip("/"): self._build_image,
            "pool": self._make_pool,
            "image": self._send_image,
            "network": self._make_network,
            "disk": self._make_disk,
            "seed": self._make_seed,
            "machine": self._make_machine,
        }
        return do[kind.partition("@")[0]](rest.partition("@")[0], resource, action)

    def _make_keys(self, _name: str, _resource: Resource, _action: Action) -> str:
        self.keys.ensure({node: wish.address for node, wish in self.look.wanted.machines.items()})
        return "kept in files of mode 0600"

    def _build_image(self, name: str, _resource: Resource, _action: Action) -> str:
        recipe = find_recipe(name.rpartition("-")[0])
        image, built = self.store.build(recipe, mirror=None, report=lambda _doing: None)
        return f"{image.size_bytes / 2**20:.0f} MiB" if built else "was there"

    def _make_pool(self, _name: str, resource: Resource, _action: Action) -> str:
        wanted = self.look.wanted
        connect = self.connections[resource.settings["host"]]
        storage.ensure_pool(connect, name=wanted.pool, uuid=wanted.pool_uuid, path=resource.settings["path"])
        return str(resource.settings["path"])

    def _send_image(self, name: str, resource: Resource, _action: Action) -> str:
        image = self.store.find(name.removeprefix(IMAGE_PREFIX).removesuffix(".qcow2"))
        pool = self._pool(resource.settings["host"])
        return storage.ensure_image(pool, resource.settings["volume"], image.path, sha256=image.sha256)

    def _make_network(self, name: str, resource: Resource, _action: Action) -> str:
        wish = self.look.wanted.networks[name]
        return networks.ensure_network(self.connections[resource.settings["host"]], wish.network)

    def _make_disk(self, name: str, resource: Resource, _action: Action) -> str:
        host = resource.settings["host"]
        volume = f"{name}.qcow2"
        for wish in self.look.wanted.machines.values():
            for disk in wish.machine.disks:
                if disk.volume == volume:
                    return storage.ensure_disk(self._pool(host), disk)
        raise NotFoundError(f"no machine has a disk {name}")

    def _make_seed(self, node: str, resource: Resource, _action: Action) -> str:
        wish = self.look.wanted.machines[node]
        host_key = self.keys.host(node)
        seed = Seed(
            hostname=node,
            domain=wish.domain,
            user=USER,
            authorized_keys=(self.keys.login.public,),
            host_key=host_key.private.read_text(encoding="utf-8"),
            host_key_public=host_key.public,
            interfaces=tuple(nic.mac for nic in wish.machine.nics),
            data_disk_serial=next((disk.serial for disk in wish.machine.disks if disk.serial), ""),
        )
        storage.put_bytes(self._pool(resource.settings["host"]), resource.settings["volume"], seed_image(seed))
        return "written"

    def _make_machine(self, node: str, resource: Resource, action: Action) -> str:
        wish = self.look.wanted.machines[node]
        connect = self.connections[wish.host]
        if action.verb in (Verb.CREATE, Verb.UPDATE):
            domains.define_machine(connect, wish.machine)
        if action.verb is Verb.UPDATE:
            domains.stop_machine(connect, wish.machine.name, timeout_s=STOP_TIMEOUT_S)
        self.state.record(resource.name, None)
        if not wish.start:
            return "defined; it is started by hand"
        domains.start_machine(connect, wish.machine.name)
        said = self.wait_ready(wish)
        self.state.record(resource.name, {"ready": True})
        return f"{wish.address}, {said}"

    def wait_ready(self, wish: MachineWish, *, timeout_s: float = START_TIMEOUT_S) -> str:
        """Wait until a machine that was started can be worked on.

        Raises:
            ProviderError: it went off or did not come up; the evidence is the end of its serial log.
        """
        connect, name = self.connections[wish.host], wish.machine.name

        def problem() -> str | None:
            found = domains.observe_machine(connect, name)
            if found is None or not found.running:
                return f"({name}) went off while it was starting" if found else f"({name}) is gone"
            return None

        return wait_ready(
            self.target(wish), timeout_s=timeout_s, problem=problem, log_tail=lambda: self.serial_log(wish, lines=15)
        )

    def target(self, wish: MachineWish) -> SshTarget:
        """How a machine is reached by SSH; through its host where that is another machine."""
        return SshTarget(
            host=wish.address,
            user=USER,
            key_file=self.keys.login.private,
            known_hosts=self.keys.known_hosts,
            jump=jump_of(self.hosts[wish.host].uri),
        )

    def serial_log(self, wish: MachineWish, *, lines: int) -> str:
        """The last lines of a machine's serial log, without terminal codes."""
        name = Path(wish.machine.serial_log).name
        return readable(storage.tail_bytes(self._pool(wish.host), name), lines=lines)

    def _pool(self, host: str) -> storage.Pool:
        wanted = self.look.wanted
        pool = storage.find_pool(self.connections[host], name=wanted.pool, uuid=wanted.pool_uuid)
        if pool is None:
            raise ProviderError(f"storage pool {wanted.pool} does not run on {host}", next_step="ai-how up")
        return pool

    def _delete(self, name: str) -> str:
        observed = self.look.observed[name]
        host = (observed.settings or {}).get("host", next(iter(self.hosts)))
        connect = self.connections[host]
        kind, _, rest = name.partition("/")
        rest = rest.partition("@")[0]
        if kind == "machine":
            domains.stop_machine(connect, f"{self.site.name}-{rest}", timeout_s=STOP_TIMEOUT_S)
            domains.remove_machine(connect, f"{self.site.name}-{rest}", object_uuid(self.site.name, "machine", rest))
            storage.remove_volume(self._pool(host), f"{rest}.log")
            self.state.record(name, None)
        elif kind == "network":
            network = network_name(self.site.name, rest)
            networks.remove_network(connect, name=network, uuid=object_uuid(self.site.name, "network", rest))
        elif kind == "image":
            storage.remove_image(self._pool(host), rest)
        elif kind in ("disk", "seed"):
            storage.remove_volume(self._pool(host), f"{rest}.qcow2" if kind == "disk" else f"{rest}-seed.iso")
        else:
            return "left as it is"
        return "removed"

    def components(self) -> list[ComponentStatus]:
        """Every machine and how it is doing."""
        if not self.exists():
            return []
        return [self._component(node, wish) for node, wish in self.look.wanted.machines.items()]

    def _component(self, node: str, wish: MachineWish) -> ComponentStatus:
        observed = self.look.observed.get(f"machine/{node}")
        condition = observed.condition if observed else Condition.ABSENT
        remedies = {Condition.HEALTHY: "", Condition.FAILING: f"ai-how logs {node}, then: ai-how up"}
        return ComponentStatus(
            name=node,
            condition=condition,
            address=wish.address,
            version=wish.image.name,
            detail=observed.detail if observed else "is not made yet",
            remedy=remedies.get(condition, "ai-how up"),
        )

    def read_log(self, component: str, lines: int) -> tuple[list[str], Path | None]:
        """The serial log of a machine."""
        wish = self.look.wanted.machines.get(component)
        if wish is None:
            raise NotFoundError(
                f"there is no machine {component!r}",
                evidence="there are: " + ", ".join(self.look.wanted.machines),
                next_step="ai-how status",
            )
        return self.serial_log(wish, lines=lines).splitlines(), None

    def exists(self) -> bool:
        """Whether a host has anything of the site, or its folder is there."""
        return self.folder.root.exists() or any(
            world.pool or world.machines or world.networks for world in self.look.worlds.values()
        )

    def stop(self, say: Say) -> bool:
        """Shut every machine down, side by side; disks and networks stay."""
        running = [(host, found) for host, found in self._machines() if found.state != "off"]
        for host, found in running:
            say(f"stopping {found.mark.get('node', found.name)}{f' on {host}' if len(self.hosts) > 1 else ''}")
        with ThreadPoolExecutor(max_workers=max(1, len(running))) as pool:
            list(
                pool.map(
                    lambda one: domains.stop_machine(self.connections[one[0]], one[1].name, timeout_s=STOP_TIMEOUT_S),
                    running,
                )
            )
        return bool(running)

    def remove(self, say: Say) -> list[str]:
        """Remove the site's machines, disks, networks, pools and keys; what is in a pool that is not ours stays."""
        left: list[str] = []
        for host, found in self._machines():
            say(f"removing {found.mark.get('node', found.name)}")
            node = str(found.mark.get("node", ""))
            domains.remove_machine(self.connections[host], found.name, object_uuid(self.site.name, "machine", node))
        for host, connect in self.connections.items():
            for cluster in networks.observe_networks(connect, site=self.site.name):
                name = network_name(self.site.name, cluster)
                networks.remove_network(connect, name=name, uuid=object_uuid(self.site.name, "network", cluster))
            left += self._remove_pool(host, connect)
        left += remove_folder(self.folder)
        return left

    def _remove_pool(self, host: str, connect: Connect) -> list[str]:
        name, uuid = f"ai-how-{self.site.name}", object_uuid(self.site.name, "pool", self.site.name)
        pool = storage.find_pool(connect, name=name, uuid=uuid, start=True)
        if pool is None:
            return []
        for volume in storage.volumes(pool):
            if ours(volume):
                storage.remove_volume(pool, volume)
        return [f"{volume} on {host}" for volume in storage.remove_pool(pool)]

    def _machines(self) -> list[tuple[str, domains.Found]]:
        return [
            (host, found)
            for host, connect in self.connections.items()
            for found in domains.observe_machines(connect, site=self.site.name).values()
            if found.mark.get("owner") == self.owner
        ]
