"""The embedded provider's pure parts: layout, ports, secrets, rendering, state, the watchdog's verdict."""

from __future__ import annotations

import json
import shutil
import stat
import time
from dataclasses import replace
from pathlib import Path

import pytest

from ai_how.apply.state import State
from ai_how.errors import ConflictError, ProviderError, SpecError
from ai_how.local import condition as condition_module
from ai_how.local import health
from ai_how.local.components.base import Setting
from ai_how.local.external import read_credentials, read_password
from ai_how.local.layout import Layout, layout_of
from ai_how.local.ports import FIRST, LAST, PortBook
from ai_how.local.process import ProcessSpec
from ai_how.local.secrets import Secrets
from ai_how.local.stack import Stack, render_stack
from ai_how.local.supervisor import ProcessInfo, last_words, program_conf, supervisor_conf
from ai_how.local.watchdog import FAILURES, GRACE_S, Watched, note_restart, verdict
from ai_how.plan.model import Condition
from ai_how.run.http import Response
from ai_how.site.spec import Registry, Site


@pytest.fixture(autouse=True)
def all_ports_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ai_how.local.ports.is_free", lambda port, host="127.0.0.1": port != 18080)


def stack_of(site: Site, root: Path, kept: dict[str, int] | None = None) -> Stack:
    layout = Layout(root=root)
    setting = Setting(
        site=site,
        layout=layout,
        secrets=Secrets(layout),
        ports=PortBook(str(root), kept=kept or {}, ours=frozenset()),
    )
    return render_stack(setting, environment=Path("/env"), postgres_bin=Path("/pg/bin"))


def test_state_lies_beside_the_site_file(tmp_path: Path) -> None:
    assert layout_of(Site(name="demo"), tmp_path / "ai-how.yaml").root == tmp_path / ".ai-how" / "demo"
    chosen = Site(name="demo", state_dir="elsewhere")
    assert layout_of(chosen, tmp_path / "ai-how.yaml").root == tmp_path / "elsewhere"


def test_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    assert Layout(root=Path("/x")).supervisor_socket == Path("/x/run/supervisor.sock")
    long = Layout(root=Path("/x" + "y" * 120))
    assert len(str(long.supervisor_socket)) < 100
    assert long.supervisor_socket != Layout(root=Path("/x" + "z" * 120)).supervisor_socket


def test_ports_are_stable_and_distinct() -> None:
    def ports(kept: dict[str, int] | None = None) -> list[int]:
        book = PortBook("site", kept=kept or {}, ours=frozenset())
        return [book.port(name) for name in ("gateway", "registry", "s3")]

    assert ports() == ports()
    assert len(set(ports())) == 3
    assert all(FIRST <= port <= LAST for port in ports())
    assert ports({"registry": 20000})[1] == 20000


def test_a_named_port_that_is_taken_is_an_error() -> None:
    with pytest.raises(ConflictError, match="18080"):
        PortBook("site", kept={}, ours=frozenset()).port("gateway", wanted=18080)
    assert PortBook("site", kept={}, ours=frozenset({18080})).port("gateway", wanted=18080) == 18080


def test_secrets_are_private_and_stay(tmp_path: Path) -> None:
    secrets = Secrets(Layout(root=tmp_path))
    assert secrets.problem() == "api-keys.json is missing"
    secrets.ensure()
    assert secrets.problem() is None
    first = (secrets.read_api_key(), secrets.read_admin_key(), secrets.read_s3())
    secrets.ensure()
    assert (secrets.read_api_key(), secrets.read_admin_key(), secrets.read_s3()) == first
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in secrets.files)
    secrets.s3_env.chmod(0o644)
    assert secrets.problem() == "s3.env can be read by others"
    secrets.ensure()
    assert secrets.problem() is None


@pytest.mark.parametrize("text", ["[", "{}", '{"default": 1}', '{"default": ""}', "", "\udcff"])
def test_damaged_keys_are_seen_kept_aside_and_made_anew(text: str, tmp_path: Path) -> None:
    secrets = Secrets(Layout(root=tmp_path))
    secrets.ensure()
    before = (secrets.read_admin_key(), secrets.read_s3())
    for number in ("", "2"):
        secrets.api_keys.write_text(text, errors="surrogateescape")
        assert secrets.problem() == "api-keys.json is damaged"
        with pytest.raises(ProviderError) as caught:
            secrets.read_api_key()
        assert "ai-how up" in caught.value.next_step
        assert secrets.ensure() == (secrets.api_keys,)
        aside = secrets.folder / f"api-keys.json.damaged{number}"
        assert aside.read_text(errors="surrogateescape") == text
        assert stat.S_IMODE(aside.stat().st_mode) == 0o600
        assert secrets.problem() is None
        assert secrets.read_api_key().startswith("sk-")
    assert (secrets.read_admin_key(), secrets.read_s3()) == before


@pytest.mark.parametrize("name", ["s3.json", "s3.env"])
def test_the_store_s_keys_are_taken_from_the_file_that_is_sound(name: str, tmp_path: Path) -> None:
    secrets = Secrets(Layout(root=tmp_path))
    secrets.ensure()
    before, text = secrets.read_s3(), secrets.s3.read_text()
    (secrets.folder / name).write_text("nonsense")
    assert secrets.ensure() == (secrets.folder / name,)
    assert (secrets.read_s3(), secrets.s3.read_text()) == (before, text)
    (secrets.folder / name).unlink()
    assert secrets.ensure() == ()
    assert secrets.read_s3() == before


@pytest.mark.parametrize("name", ["admin-key", "s3.env", "api-keys.json"])
def test_a_missing_secret_is_one_clear_error(name: str, tmp_path: Path) -> None:
    secrets = Secrets(Layout(root=tmp_path))
    secrets.ensure()
    (secrets.folder / name).unlink()
    read = {"admin-key": secrets.read_admin_key, "s3.env": secrets.read_s3, "api-keys.json": secrets.read_api_key}
    with pytest.raises(ProviderError, match=name) as caught:
        read[name]()
    assert "ai-how up" in caught.value.next_step


def test_an_address_of_another_machine_is_refused_by_name() -> None:
    with pytest.raises(SpecError, match=r"cannot listen on 192\.0\.2\.1") as caught:
        PortBook("site", kept={}, ours=frozenset()).port("gateway", host="192.0.2.1")
    assert "gateway.host" in caught.value.next_step
    assert PortBook("site", kept={}, ours=frozenset()).port("gateway", host="0.0.0.0")


def test_no_secret_shows_in_the_rendered_stack(tmp_path: Path) -> None:
    secrets = Secrets(Layout(root=tmp_path))
    secrets.ensure()
    stack = stack_of(Site(name="demo"), tmp_path)
    text = json.dumps([dict(resource.settings) for resource in stack.resources])
    for secret in (secrets.read_api_key(), secrets.read_admin_key(), *secrets.read_s3()):
        assert str(secret) not in text


def test_everything_listens_on_loopback(tmp_path: Path) -> None:
    stack = stack_of(Site(name="demo", registry=Registry(database="postgresql")), tmp_path)
    text = json.dumps([dict(resource.settings) for resource in stack.resources])
    assert "0.0.0.0" not in text
    assert {spec.name for spec in stack.processes} == {"object-store", "database", "registry", "gateway", "watchdog"}


def test_a_process_survives_its_settings() -> None:
    spec = ProcessSpec(name="x", argv=("a", "b"), env={"A": "1"}, ports={"p": 1}, health="http://127.0.0.1:1/")
    assert ProcessSpec.from_settings("x", json.loads(json.dumps(spec.to_settings()))) == spec


def test_odd_paths_are_quoted_for_the_supervisor() -> None:
    layout = Layout(root=Path("/a b/100%/;c"))
    assert "/a b/100%%/;c" in supervisor_conf(layout, "demo")
    assert "'/a b/100%%/;c/conf/processes/x.json'" in program_conf(layout, ProcessSpec(name="x", argv=("/bin/x",)))


def test_state_refuses_another_site_and_version(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path)
    State(layout, "demo").record("secrets", {"a": 1})
    assert State(layout, "demo").resources() == {"secrets": {"a": 1}}
    with pytest.raises(ConflictError, match="belongs to site 'demo'"):
        State(layout, "other").resources()
    layout.state.write_text('{"version": 99, "site": "demo"}')
    with pytest.raises(ConflictError, match="another version"):
        State(layout, "demo").resources()


def test_external_secrets_never_show_in_errors(tmp_path: Path) -> None:
    path = tmp_path / "credentials"
    path.write_text("aws_secret_access_key = hunter2\n")
    with pytest.raises(SpecError) as caught:
        read_credentials(path)
    assert "hunter2" not in str(caught.value)
    path.write_text("[default]\naws_access_key_id = A\naws_secret_access_key = B%\n")
    assert read_credentials(path) == ("A", "B%")
    path.write_text("")
    with pytest.raises(SpecError, match="empty"):
        read_password(path)


def info(state: str = "RUNNING", pid: int = 1) -> ProcessInfo:
    return ProcessInfo(name="registry", state=state, pid=pid, started_at=0, message="")


def test_the_watchdog_waits_for_a_slow_start() -> None:
    watched = Watched()
    assert all(verdict(watched, info(), "silent", now=t, uptime_s=t) is None for t in range(0, int(GRACE_S), 5))
    late = [verdict(watched, info(), "silent", now=GRACE_S + t, uptime_s=GRACE_S + t) for t in range(FAILURES)]
    assert late[-1] is not None


def test_the_watchdog_restarts_what_stopped_answering_and_then_waits_longer() -> None:
    watched = Watched()
    assert verdict(watched, info(), None, now=0, uptime_s=5) is None
    said = [verdict(watched, info(), "silent", now=t, uptime_s=10) for t in range(FAILURES)]
    assert said[:-1] == [None] * (FAILURES - 1)
    assert said[-1] == "it does not answer: silent"
    note_restart(watched, now=10)
    first_pause = watched.not_before - 10
    note_restart(watched, now=10)
    assert watched.not_before - 10 > first_pause


def test_the_watchdog_leaves_alone_what_was_stopped_on_purpose() -> None:
    assert verdict(Watched(), info("STOPPED"), None, now=0, uptime_s=0) is None
    assert verdict(Watched(), None, None, now=0, uptime_s=0) is None
    assert verdict(Watched(), info("FATAL"), None, now=0, uptime_s=0) == "the supervisor gave up on it"


@pytest.mark.parametrize(
    ("age_s", "trouble", "condition"),
    [(1, None, Condition.HEALTHY), (1, "refused", Condition.STARTING), (100, "refused", Condition.FAILING)],
)
def test_what_does_not_answer_is_starting_until_its_time_is_over(
    age_s: float, trouble: str | None, condition: Condition, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condition_module.health, "problem", lambda _address: trouble)
    spec = ProcessSpec(name="x", argv=("a",), health="http://127.0.0.1:1/", start_timeout_s=60)
    seen = replace(info(), started_at=time.time() - age_s)
    found, said = condition_module.process_condition(spec, seen, data=tmp_path)
    assert found is condition
    assert (trouble or "") in said


def test_a_store_that_takes_no_writes_does_not_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(condition_module.health, "problem", lambda _address: None)
    monkeypatch.setattr(condition_module.health, "write_problem", lambda _address: "takes no writes: no volume")
    spec = ProcessSpec(name="x", argv=("a",), health="http://127.0.0.1:1/", write_check="http://127.0.0.1:1/")
    old = info()
    assert condition_module.process_condition(spec, old, data=tmp_path / "none") == (
        Condition.FAILING,
        "takes no writes: no volume",
    )
    usage = shutil.disk_usage(tmp_path)._replace(free=20 << 20)
    monkeypatch.setattr(condition_module.shutil, "disk_usage", lambda _path: usage)
    assert "20 MiB are free" in condition_module.process_condition(spec, old, data=tmp_path)[1]
    young = replace(old, started_at=time.time())
    assert condition_module.process_condition(spec, young, data=tmp_path)[0] is Condition.FAILING
    # what it has ended for lack of room says only that it ended
    assert "20 MiB are free" in condition_module.process_condition(spec, info("FATAL"), data=tmp_path)[1]


def test_the_store_s_refusals_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"error": "failed to find writable volumes for collection:models: No volumes left for {\\"x\\":1}"}'
    monkeypatch.setattr(health, "request", lambda *_a, **_k: Response(status=500, headers={}, body=said.encode()))
    assert health.write_problem("http://127.0.0.1:1/dir/assign") == "takes no writes: No volumes left"


def test_the_last_words_of_a_log_are_no_traceback() -> None:
    trace = ["Traceback (most recent call last):", '  File "x.py", line 1, in <module>', "    f()", "OSError: no"]
    assert last_words(["ready", *trace]) == ["OSError: no"]
    assert last_words([*trace, "", *trace[1:]]) == ["OSError: no"]
    assert last_words(["a", "a", "  b", "c"]) == ["a", "c"]
    assert last_words([]) == []
