"""The provider ``libvirt``: observes a site's hosts, and does the actions of a plan on them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Event

from ai_how.apply.files import last_lines, shared_cache
from ai_how.apply.provider import ComponentStatus, Say, Tell
from ai_how.apply.site_folder import SiteFolder, is_site_folder, remove_folder, site_root
from ai_how.apply.state import State
from ai_how.bundles.offering import HostOffering
from ai_how.capacity.demand import hosts_of
from ai_how.errors import NotFoundError, ProviderError
from ai_how.kubernetes.cluster_of_site import ClusterMachines, SiteKubernetes
from ai_how.machines import domains, networks, storage
from ai_how.machines.capabilities import check_capabilities
from ai_how.machines.card_notes import CardNotes
from ai_how.machines.conflicts import check_conflicts
from ai_how.machines.connection import Connect, Opened, open_all, open_connection, processors
from ai_how.machines.desired import (
    BUILD,
    KEYS,
    MachineWish,
    resources,
)
from ai_how.machines.disks import ensure_machine_disk
from ai_how.machines.images.recipe import find_recipe
from ai_how.machines.images.store import ImageStore
from ai_how.machines.keys import Keys
from ai_how.machines.marks import IMAGE_PREFIX, object_uuid, pool_name
from ai_how.machines.passthrough.hosts import CardHost
from ai_how.machines.power import STOP_TIMEOUT_S, stop_machines
from ai_how.machines.ready import wait_ready
from ai_how.machines.seed import seed_image
from ai_how.machines.seeding import seed_of
from ai_how.machines.serial_log import readable
from ai_how.machines.sight import Sight, look_at
from ai_how.machines.standing import Standing, find_standing, standing_machines
from ai_how.machines.status import components
from ai_how.machines.teardown import anything_there, delete_resource, remove_from_hosts
from ai_how.machines.turns import check_turn
from ai_how.plan.compute import changes_since, compute_plan
from ai_how.plan.model import Action, Observed, Plan, Resource, Verb
from ai_how.rollout.chart_images import wants_of_site
from ai_how.rollout.stacks_of_site import SiteStacks
from ai_how.run.ssh import SshTarget, check_way, jump_of
from ai_how.site.spec import Site

USER = "ai-how"
"""The account on machines that may log in and become root."""
MOST_AT_ONCE = 32


class LibvirtProvider:
    """One site on libvirt hosts."""

    def __init__(self, site: Site, site_file: Path, *, cluster: str | None = None) -> None:
        """``cluster``: one that ``up`` starts, although the site file says that it is started by hand."""
        self.site = site
        self.cluster = cluster
        self.site_file = site_file
        self.folder = SiteFolder(root=site_root(site, site_file))
        self.state = State(self.folder, site.name)
        self.keys = Keys(self.folder.secrets)
        self.store = ImageStore(shared_cache() / "images")
        self.hosts = {host.name: host for host in hosts_of(site)}
        self.kubernetes = SiteKubernetes(
            site,
            site_file,
            folder=self.folder,
            state=self.state,
            machine_of=lambda node: f"machine/{node}",
            offering=HostOffering(lambda: wants_of_site(site, self.kubernetes.versions, site_folder=site_file.parent)),
        )
        self.stacks = SiteStacks(self.kubernetes)
        self._interrupted = Event()

    @property
    def owner(self) -> str:
        """What tells this site from another one of the same name on the same host."""
        return str(self.folder.root)

    @property
    def parallel(self) -> int:
        """How many actions at once: a machine that starts keeps about one of its host's processors busy."""
        return min(MOST_AT_ONCE, max(2, sum(processors(connect) for connect in self.connections.values())))

    @cached_property
    def connections(self) -> dict[str, Connect]:
        """A connection to every host; raises where one does not answer."""
        return self.opened.all()

    @cached_property
    def opened(self) -> Opened:
        """The hosts as they could be connected to, asked side by side."""
        return open_all({name: host.uri for name, host in self.hosts.items()}, open_connection)

    @cached_property
    def standing(self) -> dict[str, Standing]:
        """The site's machines that are defined on its hosts, by node."""
        return standing_machines(self.connections, self.site, owner=self.owner)

    def find(self, node: str) -> Standing:
        """A machine that is defined; NotFoundError where it is not."""
        return find_standing(self.standing, self.site, node)

    @property
    def running_clusters(self) -> set[str]:
        """The clusters with a machine that is on."""
        return {machine.cluster for machine in self.standing.values() if machine.found.state != "off"}

    def plan(self) -> Plan:
        """What ``up`` would do now. Changes nothing.

        Raises:
            ConflictError: something else on a host is in the way.
            ProviderError: a host cannot run the machines.
        """
        if self.cluster is not None:
            check_turn(self.site, self.cluster, running=self.running_clusters)
        sight = self.look
        for host, connect in self.connections.items():
            machines = [wish.machine for wish in sight.wanted.machines.values() if wish.host == host]
            check_conflicts(connect, sight.wanted, host=host)
            check_capabilities(connect, machines, host=host)
        sight.check_cards_free()
        on_clusters = [*self.kubernetes.resources(sight.clusters), *self.stacks.resources(sight.clusters)]
        made = compute_plan(self.site.name, [*resources(sight.wanted), *on_clusters], self._observed())
        explained = self.kubernetes.explained(replace(made, notes=sight.notes), sight.clusters)
        return self.stacks.explained(explained, sight.clusters)

    def _observed(self) -> dict[str, Observed]:
        return {**self.look.observed, **self.stacks.observed(self.look.clusters)}

    def check_unchanged(self, plan: Plan) -> list[str]:
        """What is no longer as it was when the plan was made; empty where it can be applied."""
        return changes_since(plan, self._observed())

    @cached_property
    def look(self) -> Sight:
        """What is wanted and what is there, looked at once: a command acts on one look at the world."""
        return look_at(self)

    @cached_property
    def card_hosts(self) -> dict[str, CardHost]:
        """The hosts as far as their GPUs are concerned."""
        return {name: CardHost(host, self.connections[name]) for name, host in self.hosts.items()}

    @cached_property
    def card_notes(self) -> CardNotes:
        """What gives the cards of removed machines back."""
        return CardNotes(self.state, self.card_hosts, site=self.site.name)

    def clusters(self) -> tuple[ClusterMachines, ...]:
        """The clusters that Kubernetes can be set up on."""
        return self.look.clusters

    def perform(self, action: Action, resource: Resource | None) -> str:
        """Do one action of a plan; says in a few words how it ended."""
        kind, _, rest = action.resource.partition("/")
        if kind == "kubernetes":
            return self.kubernetes.perform(action, resource, self.look.clusters)
        if kind == "stack":
            return self.stacks.perform(action, resource, self.look.clusters)
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
        # those that leave too: they are drained before they go
        standing = {node: machine.address for node, machine in self.standing.items()}
        self.keys.ensure({**standing, **{node: wish.address for node, wish in self.look.wanted.machines.items()}})
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
        pool = self.pool_of(resource.settings["host"])
        return storage.ensure_image(pool, resource.settings["volume"], self.store.disk(image), sha256=image.sha256)

    def _make_network(self, name: str, resource: Resource, _action: Action) -> str:
        wish = self.look.wanted.networks[name]
        return networks.ensure_network(self.connections[resource.settings["host"]], wish.network)

    def _make_disk(self, name: str, resource: Resource, action: Action) -> str:
        host = resource.settings["host"]
        for wish in self.look.wanted.machines.values():
            for disk in wish.machine.disks:
                if disk.volume == f"{name}.qcow2":
                    if disk.backing and action.verb is Verb.CREATE:
                        # the system disk: what was set up on an earlier one is gone
                        self.kubernetes.made_again(wish.machine.cluster, wish.machine.node)
                    pool, target = self.pool_of(host), self.target(wish)
                    return ensure_machine_disk(self.connections[host], pool, wish.machine, disk, target=target)
        raise NotFoundError(f"no machine has a disk {name}")

    def _make_seed(self, node: str, resource: Resource, _action: Action) -> str:
        seed = seed_of(self.look.wanted.machines[node], self.keys, user=USER)
        storage.put_secret(self.pool_of(resource.settings["host"]), resource.settings["volume"], seed_image(seed))
        return "written"

    def _make_machine(self, node: str, resource: Resource, action: Action) -> str:
        wish = self.look.wanted.machines[node]
        connect = self.connections[wish.host]
        if action.verb in (Verb.CREATE, Verb.UPDATE):
            domains.define_machine(connect, wish.machine)
        was_on = node in self.standing and self.standing[node].found.state != "off"
        if action.verb is Verb.UPDATE:
            domains.stop_machine(connect, wish.machine.name, timeout_s=STOP_TIMEOUT_S)
            kept = [str(function) for card in wish.machine.cards for function in card.functions]
            self.card_notes.give_back(node, host=wish.host, keep=kept)
        if self._runs_without_disk(node, wish):
            domains.end_machine(connect, wish.machine.name)
        self.state.record(resource.name, None)
        if not (wish.start or was_on):
            return "defined; it is started by hand"
        return self.bring_up(wish)

    def _runs_without_disk(self, node: str, wish: MachineWish) -> bool:
        """Whether the plan found a machine running on a disk that had been removed; by now it may be made anew."""
        world = self.look.worlds[wish.host]
        found = world.machines.get(node)
        return found is not None and bool(world.lost_disks(found))

    def bring_up(self, wish: MachineWish) -> str:
        """Have a machine that is defined running, on its network and ready; says how it came up.

        Raises:
            ProviderError: it did not come up; the evidence is the end of its serial log.
        """
        connect, name, resource = self.connections[wish.host], wish.machine.name, f"machine/{wish.machine.node}"
        self.state.record(resource, None)
        domains.set_autostart(connect, wish.machine)
        cards = self.card_hosts[wish.host]
        cards.start(wish.machine)
        if wish.machine.cards:
            self.card_notes.note(wish.machine.node, host=wish.host)
        domains.reconnect_machine(connect, name, networks.observe_ports(connect, site=self.site.name))
        said = "; ".join(filter(None, (self.wait_ready(wish), cards.check_seen(self.target(wish), wish.machine))))
        found = domains.observe_machine(connect, name)
        self.state.record(resource, {"run": found.run if found else ""})
        return f"{wish.address}, {said}"

    def watch(self, tell: Tell) -> None:
        """Have the playbooks of Kubernetes, and what is applied to it, told of."""
        self.kubernetes.watch(tell)
        self.stacks.watch(tell)

    def interrupt(self) -> None:
        """Let waits that are under way end soon: what they wait for goes on, and the next ``up`` waits for it."""
        self._interrupted.set()
        self.kubernetes.interrupt()
        self.stacks.interrupt()

    def wait_ready(self, wish: MachineWish, *, timeout_s: float | None = None) -> str:
        """Wait until a machine that was started can be worked on; by default as long as the site file allows.

        Raises:
            ProviderError: it went off or did not come up; the evidence is the end of its serial log.
            TryAgainError: its host, another machine, does not let us through by SSH.
        """
        connect, name, target = self.connections[wish.host], wish.machine.name, self.target(wish)
        allowed_s = timeout_s or self.site.planned_clusters[wish.machine.cluster].ready_timeout_s

        def problem() -> str | None:
            if self._interrupted.is_set():
                return "was not waited for any longer: it goes on starting"
            found = domains.observe_machine(connect, name)
            if found is None or not found.running:
                return f"({name}) went off while it was starting" if found else f"({name}) is gone"
            return None

        if target.jump:
            check_way(target.jump)
        return wait_ready(
            target, timeout_s=allowed_s, problem=problem, log_tail=lambda: self.serial_log(wish, lines=15)
        )

    def target(self, wish: MachineWish) -> SshTarget:
        """How a machine is reached by SSH; through its host where that is another machine."""
        return self._target(wish.host, wish.address)

    def target_of(self, machine: Standing) -> SshTarget:
        """As ``target``, for a machine as it was made."""
        return self._target(machine.host, machine.address)

    def _target(self, host: str, address: str) -> SshTarget:
        return SshTarget(
            host=address,
            user=USER,
            key_file=self.keys.login.private,
            known_hosts=self.keys.known_hosts,
            jump=jump_of(self.hosts[host].uri),
        )

    def serial_log(self, wish: MachineWish, *, lines: int) -> str:
        """The last lines of a machine's serial log, without terminal codes."""
        name = Path(wish.machine.serial_log).name
        return readable(storage.tail_bytes(self.pool_of(wish.host), name), lines=lines)

    def pool_of(self, host: str) -> storage.Pool:
        """The site's pool on a host.

        Raises:
            ProviderError: it does not run.
        """
        name = self.site.name
        pool = storage.find_pool(self.connections[host], name=pool_name(name), uuid=object_uuid(name, "pool", name))
        if pool is None:
            raise ProviderError(f"storage pool {pool_name(name)} does not run on {host}", next_step="ai-how up")
        return pool

    def _delete(self, name: str) -> str:
        observed = self.look.observed[name]
        host = (observed.settings or {}).get("host", next(iter(self.hosts)))
        connect = self.connections[host]
        node = name.rpartition("/")[2]
        said = delete_resource(
            connect,
            name,
            site=self.site.name,
            stop_timeout_s=STOP_TIMEOUT_S,
            give_back=lambda: self.card_notes.give_back(node, host=host),
        )
        self.state.record(name, None)
        return said

    def components(self) -> list[ComponentStatus]:
        """Every machine, network and pool, and the clusters' Kubernetes, and how it is doing."""
        return components(self) if self.exists() else []

    def read_log(self, component: str, lines: int) -> tuple[list[str], Path | None]:
        """The serial log of a machine, the log of a cluster's last playbook, or what a stack's pods say."""
        playbooks = self.kubernetes.log_of(component)
        if playbooks is not None:
            return last_lines(playbooks, lines), playbooks
        said = self.stacks.log_of(component, lines, self.clusters)
        if said is not None:
            return said, None
        machine = self.standing.get(component)
        if machine is None:
            raise NotFoundError(
                f"there is no machine {component!r}",
                evidence="there are: " + (", ".join(self.standing) or "none yet"),
                next_step="ai-how status",
            )
        log = storage.tail_bytes(self.pool_of(machine.host), f"{component}.log")
        return readable(log, lines=lines).splitlines(), None

    def exists(self) -> bool:
        """Whether a host has anything of the site, or its folder is there."""
        there = anything_there(self.connections, site=self.site.name, owner=self.owner)
        return there or is_site_folder(self.folder)

    def stop(self, say: Say) -> bool:
        """Shut every machine down, side by side; disks and networks stay."""
        self.kubernetes.rest()
        return bool(stop_machines([one for one in self.standing.values() if one.found.state != "off"], say))

    def losses(self) -> list[str]:
        """Nothing but what was made for the site."""
        return []

    def remove(self, say: Say) -> list[str]:
        """Remove the site's machines, disks, networks, pools and keys; what is in a pool that is not ours stays."""
        left, cards = self.kubernetes.remove(say), self.card_notes
        left += remove_from_hosts(self.connections, say, site=self.site.name, owner=self.owner, cards=cards)
        for said in cards.give_all_back():
            say(said)
        return left + remove_folder(self.folder)
