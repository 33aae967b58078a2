"""The embedded provider: observes the site's processes and files, and does the actions of a plan on them."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

from ai_how.apply.files import last_lines
from ai_how.apply.provider import ComponentStatus, Say, Tell
from ai_how.apply.site_folder import is_site_folder
from ai_how.apply.state import State
from ai_how.errors import NotFoundError, ProviderError
from ai_how.local import environment, postgres
from ai_how.local.components.base import Setting
from ai_how.local.components.database import NAME as DATABASE_NAME
from ai_how.local.components.object_store import NAME as STORE_NAME
from ai_how.local.components.object_store import socket_paths
from ai_how.local.components.registry import NAME as REGISTRY_NAME
from ai_how.local.condition import disk_problem, process_condition
from ai_how.local.layout import Layout, layout_of
from ai_how.local.ports import PortBook
from ai_how.local.process import ProcessSpec
from ai_how.local.secrets import Secrets
from ai_how.local.stack import BUCKETS, DATABASE_FILES, ENVIRONMENT, PROCESS, SECRETS, SUPERVISOR, Stack, render_stack
from ai_how.local.supervisor import ProcessInfo, Supervisor, read_process
from ai_how.plan.compute import changes_since, compute_plan
from ai_how.plan.model import Action, Condition, Observed, Plan, Resource, Verb
from ai_how.site.spec import Site


class LocalProvider:
    """One site on this machine."""

    def __init__(self, site: Site, site_file: Path) -> None:
        self.site = site
        self.site_file = site_file
        self.layout: Layout = layout_of(site, site_file)
        self.secrets = Secrets(self.layout)
        self.state = State(self.layout, site.name)
        self.supervisor = Supervisor(self.layout, site.name)

    @property
    def folder(self) -> Layout:
        return self.layout

    @property
    def parallel(self) -> int:
        return 4

    def watch(self, tell: Tell) -> None:
        """Nothing here is told of: it takes seconds."""

    def interrupt(self) -> None:
        """Nothing here waits longer than a process takes to start."""

    def components(self) -> list[ComponentStatus]:
        """Every process of the stack and how it is doing."""
        from ai_how.local.status import component_statuses

        return component_statuses(self)

    def read_log(self, component: str, lines: int) -> tuple[list[str], Path | None]:
        """The log of a component, an endpoint's newest replica or a replica."""
        folder = self.layout.logs
        replicas = sorted(folder.glob(f"engine-{component}-??????.log"), key=lambda path: -path.stat().st_mtime)
        found = next((path for path in (folder / f"{component}.log", *replicas) if path.exists()), None)
        if found is None:
            names = sorted(path.stem for path in folder.glob("*.log"))
            raise NotFoundError(
                f"there is no log of {component!r}",
                evidence="there are: " + ", ".join(names) if names else f"no logs in {folder}",
                next_step="ai-how status" if names else "ai-how up",
            )
        return last_lines(found, lines), found

    def exists(self) -> bool:
        """Whether the site's folder is there; refuses one that belongs to another site."""
        return is_site_folder(self.layout) and self.state.resources() is not None

    def stop(self, say: Say) -> bool:
        """Stop every process and keep all data."""
        from ai_how.local.teardown import stop_site

        return stop_site(self, say)

    def losses(self) -> list[str]:
        """Nothing but what was made for the site."""
        return []

    def remove(self, say: Say) -> list[str]:
        """Stop every process and remove the site's files."""
        from ai_how.local.teardown import remove_site

        self.stop(say)
        return remove_site(self)

    def plan(self) -> Plan:
        """What ``up`` would do now. Changes nothing."""
        running = self.processes()
        stack = self._render(running)
        return compute_plan(self.site.name, stack.resources, self.observe(stack, running))

    def check_unchanged(self, plan: Plan) -> list[str]:
        """What is no longer as it was when the plan was made; empty where it can be applied."""
        running = self.processes()
        return changes_since(plan, self.observe(self._render(running), running))

    def processes(self) -> dict[str, ProcessInfo]:
        """The supervisor's processes; none where it does not run."""
        return self.supervisor.processes() if self.supervisor.alive() else {}

    def known_specs(self) -> dict[str, ProcessSpec]:
        """The stack's processes as they were last started, by name; engine replicas are not among them."""
        found = {}
        for path in sorted(self.layout.processes.glob("*.json")):
            spec = read_process(self.layout, path.stem)
            if spec and not path.stem.startswith("engine-"):
                found[path.stem] = spec
        return found

    def observe(self, stack: Stack, running: dict[str, ProcessInfo]) -> dict[str, Observed]:
        """How everything of the site is found; the health questions are asked side by side."""
        made = self.state.resources()
        names = [spec.name for spec in stack.processes]
        names += [name for name in self.known_specs() if name not in names]
        with ThreadPoolExecutor(max_workers=8) as pool:
            seen = list(pool.map(lambda name: self._observe_process(name, running), names))
        found = {observed.name: observed for observed in seen}
        checks: dict[str, tuple[Condition, str]] = {
            SECRETS: _condition(self.secrets.problem()),
            ENVIRONMENT: self._observe_environment(made),
            BUCKETS: self._observe_buckets(stack),
            DATABASE_FILES: self._observe_database_files(),
        }
        for name, (condition, detail) in checks.items():
            settings = made.get(name)
            shown = condition if settings is not None else Condition.ABSENT
            found[name] = Observed(name=name, condition=shown, settings=settings, detail=detail)
        found[SUPERVISOR] = self._observe_supervisor(made)
        return found

    def perform(self, action: Action, resource: Resource | None) -> str:
        """Do one action of a plan; says in a few words how it ended."""
        name = action.resource
        if resource is None:
            return self._delete(name)
        if name.startswith(PROCESS):
            return self._start_process(ProcessSpec.from_settings(name.removeprefix(PROCESS), resource.settings), action)
        do: dict[str, Callable[[Resource], str]] = {
            SECRETS: self._make_secrets,
            ENVIRONMENT: self._make_environment,
            SUPERVISOR: self._start_supervisor,
            BUCKETS: self._make_buckets,
            DATABASE_FILES: self._make_database_files,
        }
        said = do[name](resource)
        self.state.record(name, resource.settings)
        self._keep_ports()
        return said

    def _render(self, running: dict[str, ProcessInfo]) -> Stack:
        ports = self._known_ports()
        kept = {port_name: port for found in ports.values() for port_name, port in found.items()}
        ours = frozenset(
            port
            for name, found in ports.items()
            if name in running and running[name].running
            for port in found.values()
        )
        setting = Setting(
            site=self.site,
            layout=self.layout,
            secrets=self.secrets,
            ports=PortBook(str(self.layout.root), kept=kept, ours=ours),
        )
        wants_postgres = self.site.registry.database == "postgresql"
        return render_stack(
            setting,
            environment=environment.environment_path(),
            postgres_bin=postgres.find_server() if wants_postgres else None,
        )

    def _known_ports(self) -> dict[str, dict[str, int]]:
        """The ports that each process was last given: by the state file, which outlives a lost ``conf``, and by what
        was started, which outlives a lost state file."""
        made = self.state.resources()
        stated = {
            name.removeprefix(PROCESS): dict(settings.get("ports", {}))
            for name, settings in made.items()
            if name.startswith(PROCESS)
        }
        return stated | {name: dict(spec.ports) for name, spec in self.known_specs().items()}

    def _keep_ports(self) -> None:
        """Write down the ports of processes that a new state file does not know yet."""
        made = self.state.resources()
        for name, ports in self._known_ports().items():
            if f"{PROCESS}{name}" not in made:
                self.state.record(f"{PROCESS}{name}", {"ports": ports})

    def _observe_process(self, name: str, running: dict[str, ProcessInfo]) -> Observed:
        spec = read_process(self.layout, name)
        full_name = f"{PROCESS}{name}"
        if spec is None:
            return Observed(name=full_name, condition=Condition.ABSENT)
        condition, detail = process_condition(spec, running.get(name), data=self.layout.data / name)
        return Observed(name=full_name, condition=condition, settings=spec.to_settings(), detail=detail)

    def _observe_supervisor(self, made: dict[str, dict[str, str]]) -> Observed:
        if self.supervisor.alive():
            # it answers at its socket: that is all of its settings, whatever the state file says
            settings = {"socket": str(self.layout.supervisor_socket)}
            # without its file it runs on, and yet refuses to learn of any process
            condition, detail = _condition(None if self.supervisor.conf.exists() else "its configuration file is gone")
            return Observed(name=SUPERVISOR, condition=condition, settings=settings, detail=detail)
        condition = Condition.STOPPED if SUPERVISOR in made else Condition.ABSENT
        return Observed(name=SUPERVISOR, condition=condition, settings=made.get(SUPERVISOR), detail="is not running")

    def _observe_environment(self, made: dict[str, dict[str, str]]) -> tuple[Condition, str]:
        path = made.get(ENVIRONMENT, {}).get("path")
        if path and environment.is_ready(Path(path)):
            return Condition.HEALTHY, ""
        return Condition.FAILING, "is not installed"

    def _observe_buckets(self, stack: Stack) -> tuple[Condition, str]:
        if stack.process(STORE_NAME) and not (self.layout.data / STORE_NAME).exists():
            return Condition.FAILING, "the object store's data is gone"
        return Condition.HEALTHY, ""

    def _observe_database_files(self) -> tuple[Condition, str]:
        if (self.layout.data / DATABASE_NAME / "PG_VERSION").exists():
            return Condition.HEALTHY, ""
        return Condition.FAILING, "the database's files are gone"

    def _make_secrets(self, resource: Resource) -> str:
        from ai_how.local.external import read_credentials, read_password

        base = self.site_file.resolve().parent
        credentials, password = resource.settings.get("object_store"), resource.settings.get("database")
        self._check_database_password()
        damaged = self.secrets.ensure(
            s3_identity=read_credentials(base / credentials) if credentials else None,
            database_password=read_password(base / password) if password else None,
        )
        if self.secrets.s3 in damaged and self.secrets.s3_env in damaged:
            self.restart((STORE_NAME, REGISTRY_NAME))
        if not damaged:
            return "kept in files of mode 0600"
        names = " and ".join(path.name for path in damaged)
        return f"{names} damaged (kept as *.damaged): made anew, what it held no longer works"

    def _check_database_password(self) -> None:
        """A new password would not be that of a database that exists already."""
        file = self.secrets.database_env
        if (self.layout.data / DATABASE_NAME / "PG_VERSION").exists() and not self.secrets.is_sound(file):
            raise ProviderError(
                "the password of the registry's database is lost",
                evidence=f"{file} is missing or damaged",
                next_step="put the file back: one line, PGPASSWORD=... (mode 0600)",
            )

    def restart(self, names: tuple[str, ...]) -> None:
        """Let processes read their secrets and files anew, as far as they are there; waits until they work."""
        running = self.processes()
        for spec in (read_process(self.layout, name) for name in names if name in running):
            if spec:
                self.supervisor.stop_process(spec.name)
                self.supervisor.start_process(spec.name)
                self._wait_healthy(spec, timeout_s=spec.start_timeout_s)

    def _make_environment(self, resource: Resource) -> str:
        path = Path(resource.settings["path"])
        if environment.is_ready(path):
            return "found in the cache"
        environment.install(path)
        return f"installed in {path}"

    def _start_supervisor(self, _: Resource) -> str:
        if self.supervisor.alive():
            self.supervisor.stop()
        self.supervisor.start()
        return "runs"

    def _make_buckets(self, resource: Resource) -> str:
        from ai_how.local.buckets import ensure_buckets

        access_key, secret_key = self.secrets.read_s3()
        made = ensure_buckets(
            resource.settings["endpoint_url"],
            resource.settings["names"],
            region=self.site.object_store.region,
            access_key=access_key,
            secret_key=secret_key,
        )
        return f"made {', '.join(made)}" if made else "were there"

    def _make_database_files(self, resource: Resource) -> str:
        data = Path(resource.settings["path"])
        if (data / "PG_VERSION").exists():
            return "were there"
        postgres.make_files(data, Path(resource.settings["bin"]), self.secrets.database_env)
        return "made"

    def _start_process(self, spec: ProcessSpec, action: Action) -> str:
        info = self.supervisor.processes().get(spec.name)
        if info is not None and info.running and action.verb is Verb.REPAIR and self._disk_problem(spec):
            # a restart would not help
            raise self._failure(spec, "")
        if action.verb in (Verb.START, Verb.REPAIR) and info is not None and info.running:
            # perhaps it is only starting: an earlier command may have been ended while it waited for this
            left_s = spec.start_timeout_s - (time.time() - info.started_at)
            if left_s > 0 and self._wait_healthy(spec, timeout_s=left_s) is None:
                return _where(spec)
        if info is not None:
            self.supervisor.remove(spec.name)
        (self.layout.data / spec.name).mkdir(parents=True, exist_ok=True, mode=0o700)
        self.state.record(f"{PROCESS}{spec.name}", {"ports": dict(spec.ports)})
        self.supervisor.add(spec)
        trouble = self._wait_healthy(spec, timeout_s=spec.start_timeout_s)
        if trouble is not None:
            raise self._failure(spec, trouble)
        return _where(spec)

    def _wait_healthy(self, spec: ProcessSpec, *, timeout_s: float) -> str | None:
        """Wait until a process works; what is wrong where it gave up, the time is over or waiting cannot help."""
        deadline = time.monotonic() + timeout_s
        while True:
            info = self.supervisor.processes().get(spec.name)
            condition, detail = process_condition(spec, info, data=self.layout.data / spec.name)
            if condition is Condition.HEALTHY:
                return None
            if info is None or info.state in ("FATAL", "EXITED") or time.monotonic() > deadline:
                return detail
            if info.running and condition is Condition.FAILING and self._disk_problem(spec):
                return detail
            time.sleep(0.05)

    def _disk_problem(self, spec: ProcessSpec) -> str | None:
        return disk_problem(self.layout.data / spec.name) if spec.write_check else None

    def _failure(self, spec: ProcessSpec, trouble: str) -> ProviderError:
        full = self._disk_problem(spec)
        if full:
            return ProviderError(f"{spec.name} {full}", next_step="free some space there, then: ai-how up")
        return ProviderError(
            f"{spec.name} did not start",
            evidence="\n".join(part for part in (trouble, *self.supervisor.last_words(spec.name)) if part),
            next_step=f"read its log: ai-how logs {spec.name}",
        )

    def _delete(self, name: str) -> str:
        if name.startswith(PROCESS):
            process = name.removeprefix(PROCESS)
            if self.supervisor.alive():
                self.supervisor.remove(process)
            remove_leftovers(self.layout, process)
            (self.layout.processes / f"{process}.json").unlink(missing_ok=True)
            self.state.record(name, None)
            return "stopped and forgotten; its data stays"
        self.state.record(name, None)
        return "forgotten; its data stays"


def _where(spec: ProcessSpec) -> str:
    return urlsplit(spec.health).netloc if spec.health else "runs"


def remove_leftovers(layout: Layout, process: str) -> None:
    """Remove what a killed process leaves outside the site's folder."""
    spec = read_process(layout, process)
    if process == STORE_NAME and spec:
        for path in socket_paths(spec.ports):
            Path(path).unlink(missing_ok=True)


def _condition(trouble: str | None) -> tuple[Condition, str]:
    return (Condition.FAILING, trouble) if trouble else (Condition.HEALTHY, "")
