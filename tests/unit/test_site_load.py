"""The site file's loader: every mistake at once, each at its line, never anything but our own error."""

from __future__ import annotations

import os
import re
import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ai_how.capacity.prices import Prices
from ai_how.endpoints.deploy_file import DeployKeys
from ai_how.errors import NotFoundError, SpecError
from ai_how.site.check import section_model, sections
from ai_how.site.load import check_site_file, check_site_text, find_site, load_site
from ai_how.site.spec import Site
from ai_how.site.words import FORMS
from tests.golden.conftest import ROOT

SECTIONS = dict(sections(Site))


def mistakes(text: str) -> list[str]:
    """The messages for a text, each as ``line:column: key: what; remedy``."""
    site, found = check_site_text(text, Path("f"))
    assert (site is None) == bool(found)
    return [re.sub(r"^f:(?=\d)", "", str(mistake)) for mistake in found]


def test_a_site_file_of_one_line_has_all_defaults() -> None:
    site, found = check_site_text("name: demo\n", Path("f"))
    assert found == []
    assert site == Site(name="demo")


def test_every_example_loads() -> None:
    assert load_site(ROOT / "examples" / "local.yaml").name == "demo"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        # broken YAML: one line with its position
        ("", "f: is empty; it needs at least one key"),
        ("# only a comment\n", "f: is empty; it needs at least one key"),
        ("- 1\n", "1:1: is not a mapping; write lines of the form key: value"),
        ("just text", "1:1: is not a mapping; write lines of the form key: value"),
        ("name: a\ngateway:\n\tport: 1\n", "3:1: a tab in the indentation; indent with spaces"),
        ("name: a\n---\nname: b\n", "2:1: a second document begins here; keep one document a file"),
        ("name: 'a\nprovider: local\n", "1:7: a quote that is never closed; close it"),
        ("name: a\ngateway: {port: 1\n", "2:10: a bracket that is never closed; close it"),
        ("name: a: b\n", "1:8: a colon that does not fit here; quote text that has ': ' in it; align keys"),
        ("name: @a\n", "1:7: a character that cannot begin a value; put the value in quotes"),
        ("name: a\nprovider local\n", "2:1: a line without a colon; write key: value"),
        ("name: a\ngateway:\n    port: 1\n  host: b\n", "4:3: wrong indentation; align the keys of one section"),
        ("name: *a\n", "1:7: an alias without its anchor; quote text that begins with *"),
        ("name: a\x07b\n", "1:8: a control character; remove it"),
        # keys
        ("name: a\nname: b\n", "2:1: name: written twice, first in line 1; keep one"),
        ("name: a\n[b]: c\n", "2:1: a key must be plain text; write key: value"),
        ("nam: a\n", "1:1: nam: unknown key; did you mean name?"),
        ("name: a\ngateway:\n  Prot: 1\n", "3:3: gateway.Prot: unknown key; did you mean port?"),
        ("name: a\nidle_after_s: 5\n", "2:1: idle_after_s: unknown key; it belongs under serving"),
        ("name: a\ngateway:\n  registry: {}\n", "3:3: gateway.registry: unknown key; it belongs at the top level"),
        (
            "name: a\nregistry:\n  zzz: 1\n",
            "3:3: registry.zzz: unknown key; the keys here are database, password_file, port",
        ),
        ("provider: local\n", "1:1: name: missing; write name: and a name for this site, such as demo"),
        # values
        (
            "name: a\nprovider: locl\n",
            "2:11: provider: 'locl' is not allowed; did you mean local? It takes local, libvirt or inventory",
        ),
        ("name: a\nversion: 2\n", "2:10: version: 2 is not allowed; write 1"),
        (
            "name: A b\n",
            "1:7: name: 'A b' is not allowed; write lower-case letters, digits and dashes, beginning with a letter, "
            "32 at most",
        ),
        (
            "name: a\ngateway: {port: 80a}\n",
            "2:17: gateway.port: '80a' is not allowed; write a whole number from 1 to 65535, or auto",
        ),
        (
            "name: a\ngateway: {port: 0}\n",
            "2:17: gateway.port: 0 is not allowed; write a whole number from 1 to 65535, or auto",
        ),
        (
            "name: a\nserving: {parallel_requests: true}\n",
            "2:30: serving.parallel_requests: true is not allowed; write a whole number from 1 to 256",
        ),
        ('name: a\ngateway: {port: "80"}\n', "2:17: gateway.port: '80' is text; write 80 without quotes"),
        (
            "name: a\nserving: {engine: vlm}\n",
            "2:19: serving.engine: 'vlm' is not allowed; did you mean vllm? It takes auto, llamacpp or vllm",
        ),
        (
            "name: a\nregistry: {password_file: 12}\n",
            '2:27: registry.password_file: 12 is not text; write it in quotes: "12"',
        ),
        ("name: a\ngateway: 3\n", "2:10: gateway: is not a section; write its keys below it, one a line"),
        ("name: a\ngateway:\n", "2:1: gateway: has no value; write its keys below it, or remove the line"),
        (
            "name: a\nserving:\n  idle_after_s:\n",
            "3:3: serving.idle_after_s: has no value; write a number above 0 and up to 31536000, or remove the line",
        ),
        (
            "name: a\nserving: {idle_after_s: .inf}\n",
            "2:25: serving.idle_after_s: .inf is not allowed; write a number above 0 and up to 31536000 (seconds)",
        ),
        ("name: [a]\n", "1:7: name: is a list; write " + FORMS[r"^[a-z]([a-z0-9-]{0,30}[a-z0-9])?$"]),
        (
            'name: a\nstate_dir: "a\\0b"\n',
            "2:12: state_dir: holds a NUL, which no file, name or program takes; write it without",
        ),
        ('name: a\nstate_dir: ""\n', "2:12: state_dir: '' is not allowed; write a path"),
        ("name: !!binary aGk=\n", "1:7: name: has the tag !!binary; write the value without a tag"),
        # several keys together
        (
            "name: a\nobject_store: {type: external}\n",
            "2:1: object_store: an external object store needs endpoint_url and credentials_file",
        ),
        (
            "name: a\ngateway: {port: 80}\nregistry: {port: 80}\n",
            "3:18: registry.port: 80 is the port of gateway.port too; write another one, or auto",
        ),
        (
            "name: a\nprovider: libvirt\nserving: {when_idle: sleep}\n",
            "3:22: serving.when_idle: sleep is for provider local: in a cluster a pod that sleeps would keep its GPU "
            "from all others; write stop, or leave it out",
        ),
        (
            "name: a\nserving: {engine: llamacpp, loader: streamer}\n",
            "2:37: serving.loader: streamer is vLLM's, and engine is llamacpp; leave it out",
        ),
        (
            "name: a\nserving: {node_cache_gib: 60}\n",
            "2:11: serving.node_cache_gib: is not for provider local: its cache keeps every model that was served; "
            "remove it",
        ),
        (
            "name: a\nserving: {keep_image: true}\n",
            "2:11: serving.keep_image: is not for provider local: it runs no images; remove it",
        ),
        (
            "name: a\nprovider: libvirt\nserving: {node_cache_gib: 9000}\n",
            "3:27: serving.node_cache_gib: 9000 does not fit: GPU workers have a disk of 300 GiB; "
            "write less, or a larger disk_gib",
        ),
        (
            "name: a\nserving: {engine: llamacpp, when_idle: sleep}\n",
            "2:40: serving.when_idle: sleep is what vLLM can do, and engine is llamacpp; write stop, or engine: auto",
        ),
        (
            "name: a\nregistry: {database: 'postgresql://u:hidden@h/d'}\n",
            "2:22: registry.database: holds a password; put it into a file and name that in registry.password_file",
        ),
    ],
)
def test_one_mistake_gives_one_message(text: str, message: str) -> None:
    found = mistakes(text)
    assert [line for line in found if line == message], found
    assert len([line for line in found if "missing" not in line or line == message]) == 1, found


@pytest.mark.parametrize(
    ("key", "written", "number", "unit"),
    [
        ("serving.idle_after_s", "5m", "300", "seconds"),
        ("serving.idle_after_s", "2 hours", "7200", "seconds"),
        ("serving.scale_out_after_s", "500ms", "0.5", "seconds"),
        ("gateway.max_request_mib", "16MB", "16", "MiB"),
        ("gateway.max_request_mib", "1 GiB", "1024", "MiB"),
        ("gateway.max_request_mib", "512k", "0.5", "MiB"),
        ("serving.context_tokens", "4k", "4096", "tokens"),
        ("targets.latency_p95_ms", "0.5s", "500", "milliseconds"),
        ("targets.gpu_utilization_percent", "70%", "70", "percent"),
        ("targets.throughput_rps_per_gpu", "50 rps", "50", "requests a second for each GPU"),
    ],
)
def test_a_unit_is_taken_off_and_converted(key: str, written: str, number: str, unit: str) -> None:
    section, _, name = key.partition(".")
    (found,) = mistakes(f"name: a\n{section}:\n  {name}: {written}\n")
    assert found == f"3:{len(name) + 5}: {key}: '{written}' is not a number; write {number}: {unit}, without a unit"


@pytest.mark.parametrize("written", ["2TB", "5 parsecs", "0m", "-5m", "1e3m"])
def test_no_number_is_offered_that_is_wrong_or_out_of_range(written: str) -> None:
    (found,) = mistakes(f"name: a\ngateway: {{max_request_mib: {written}}}\n")
    assert found.endswith("is not allowed; write a number above 0 and up to 1024")


def test_the_keys_of_a_section_are_named_once() -> None:
    assert mistakes("yyy: 1\nname: a\nregistry:\n  zzz: 1\n  qqq: 2\nxxx: 3\n") == [
        f"1:1: yyy: unknown key; the keys here are {', '.join(SECTIONS[''])}",
        "4:3: registry.zzz: unknown key; the keys here are database, password_file, port",
        "5:3: registry.qqq: unknown key; the keys here are those named above",
        "6:1: xxx: unknown key; the keys here are those named above",
    ]


def test_all_mistakes_come_at_once_from_top_to_end() -> None:
    text = (
        "provider: kvm\ngateway:\n  port: 70000\n  hots: a\n  host: 3\n  host: 4\nobject_store:\n"
        "  type: external\n  port: x\nserving:\n  idle_after_s: 5m\ntargets: 3\n"
    )
    keys = [line.split(": ")[:2] for line in mistakes(text)]
    assert keys == [
        ["1:1", "name"],
        ["1:11", "provider"],
        ["3:9", "gateway.port"],
        ["4:3", "gateway.hots"],
        ["5:9", "gateway.host"],
        ["6:3", "gateway.host"],
        ["7:1", "object_store"],
        ["9:9", "object_store.port"],
        ["11:17", "serving.idle_after_s"],
        ["12:10", "targets"],
    ]


def test_a_section_does_not_complain_of_a_key_that_is_only_misspelt() -> None:
    text = "name: a\nobject_store:\n  type: external\n  endpoint_ur: http://h\n  credentials_file: f\n"
    assert mistakes(text) == ["4:3: object_store.endpoint_ur: unknown key; did you mean endpoint_url?"]


def test_aliases_and_merges_are_understood() -> None:
    site, found = check_site_text("name: &n demo\nstate_dir: *n\ngateway: &g {port: 99}\n", Path("f"))
    assert (found, site and site.state_dir) == ([], "demo")
    assert mistakes("name: a\ngateway: &g\n  port: 99x\nregistry:\n  <<: *g\n") == [
        "3:9: gateway.port: '99x' is not allowed; write a whole number from 1 to 65535, or auto",
        "3:9: registry.port: '99x' is not allowed; write a whole number from 1 to 65535, or auto",
    ]


def test_aliases_that_grow_without_end_are_refused() -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x]\n"
    for before, now in zip("abcdefg", "bcdefgh", strict=True):
        bomb += f"{now}: &{now} [{', '.join([f'*{before}'] * 9)}]\n"
    assert any("holds too many values" in line for line in mistakes(bomb))
    assert any("holds too many values" in line for line in mistakes("name: &a [*a]\n"))
    assert mistakes("x: " + "[" * 5000) == ["f: is nested too deeply"]


def test_a_password_is_never_shown() -> None:
    for text in (
        "name: a\nregistry: {database: 'postgresql://u:hidden@h/d e'}\n",
        "name: a\nregistry: {database: 'postgresql://u:hidden@h/d'}\n",
        "name: a\nobject_store: {type: 'https://u:hidden@h'}\n",
    ):
        assert mistakes(text)
        assert "hidden" not in str(mistakes(text))


def written(tmp_path: Path, raw: bytes) -> Path:
    path = tmp_path / "ai-how.yaml"
    path.write_bytes(raw)
    return path


def test_load_site_tells_all_mistakes_and_what_to_do(tmp_path: Path) -> None:
    path = written(tmp_path, b"name: a\nx: 1\ny: 2\n")
    with pytest.raises(SpecError) as error:
        load_site(path)
    assert error.value.brief == f"{path} has 2 mistakes"
    assert [line.split(": ")[0] for line in error.value.evidence.splitlines()] == [f"{path}:2:1", f"{path}:3:1"]
    assert error.value.next_step == "correct it, then check with: ai-how validate"
    other = path.rename(tmp_path / "my site.yaml")
    with pytest.raises(SpecError) as error:
        load_site(other)
    assert error.value.next_step.endswith(f"ai-how validate --site '{other}'")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"name: a\ngateway: {host: \xff}\n", "ai-how.yaml:2:17: is not UTF-8; save it as UTF-8"),
        ("name: a".encode("utf-16"), "ai-how.yaml: is a binary file or UTF-16; write YAML, saved as UTF-8"),
        (b"GGUF\x03\0\0\0", "ai-how.yaml: is a binary file or UTF-16; write YAML, saved as UTF-8"),
        (b"# long\n" * 200_000, "ai-how.yaml: is larger than 1 MiB; is it the right file?"),
    ],
)
def test_what_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raw: bytes, message: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpecError) as error:
        load_site(written(tmp_path, raw))
    assert error.value.evidence == message


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    assert load_site(written(tmp_path, b"\xef\xbb\xbfname: demo\r\n")).name == "demo"


def test_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    reasons = {
        Path("none.yaml"): "none.yaml: no such file; write one with: ai-how init",
        tmp_path: ".: is a folder; give the file's own path",
        Path("loop"): "loop: cannot be read: Too many levels of symbolic links",
        Path("a\0b"): "a\0b: cannot be read: embedded null byte",
    }
    for path, reason in reasons.items():
        with pytest.raises(SpecError) as error:
            load_site(path)
        assert error.value.evidence == reason


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_without_read_permission(tmp_path: Path) -> None:
    path = written(tmp_path, b"name: a\n")
    path.chmod(0)
    with pytest.raises(SpecError, match="cannot be read: Permission denied"):
        load_site(path)


def test_find_site_looks_here_and_above(tmp_path: Path) -> None:
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    with pytest.raises(NotFoundError) as error:
        find_site(below)
    assert error.value.next_step == "ai-how init"
    path = written(tmp_path, b"name: a\n")
    assert find_site(below) == path
    nearer = written(tmp_path / "a", b"name: b\n")
    assert find_site(below) == nearer
    (below / "ai-how.yaml").mkdir()
    assert find_site(below) == nearer


def test_every_pattern_has_words() -> None:
    schemas = "".join(str(model.model_json_schema()) for model in (Site, DeployKeys, Prices))
    patterns = set(re.findall(r"'pattern': '(.*?)'[,}]", schemas))
    # of the names in a mapping too
    patterns |= set(re.findall(r"'patternProperties': \{'(.*?)':", schemas))
    assert {pattern.replace("\\\\", "\\") for pattern in patterns} == set(FORMS)


KEYS = [(section, key) for section, keys in SECTIONS.items() for key in keys]
LETTERS = string.ascii_lowercase + "_"


@given(data=st.data())
def test_any_slip_of_one_letter_is_recognised(data: st.DataObject) -> None:
    section, key = data.draw(st.sampled_from(KEYS))
    at, letter = data.draw(st.integers(0, len(key) - 1)), data.draw(st.sampled_from(LETTERS))
    slip = data.draw(
        st.sampled_from([key[:at] + key[at + 1 :], key[:at] + letter + key[at:], key[:at] + letter + key[at + 1 :]])
    )
    if slip in SECTIONS[section]:
        return
    text = f"{slip}: 1\n" if not section else f"name: a\n{section}:\n  {slip}: 1\n"
    (found,) = [line for line in mistakes(text) if "unknown key" in line]
    assert re.search(rf"did you mean .*\b{key}\b", found), found


@settings(max_examples=300)
@given(raw=st.binary(max_size=200) | st.text("abn:{}[]&*!%-<>'\"\n\t #|?,~=0.x@`\\", max_size=60).map(str.encode))
def test_any_bytes_give_a_site_or_our_error(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(raw)
    try:
        load_site(path)
    except SpecError as error:
        assert error.evidence.splitlines()


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(chosen=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=6))
def test_any_values_give_a_site_or_mistakes_with_lines(chosen: dict[tuple[str, str], object]) -> None:
    import json

    data: dict[str, object] = {}
    for (section, key), value in sorted(chosen.items()):
        inner = data.setdefault(section, {}) if section else data
        if isinstance(inner, dict) and not (section == "" and section_model(Site, key)):
            inner[key] = value
    # JSON is YAML, apart from its names for what is no number
    text = json.dumps(data, indent=1).replace("NaN", ".nan").replace("Infinity", ".inf")
    site, found = check_site_text(text, Path("f"))
    assert (site is None) == bool(found)
    assert all(mistake.line > 0 for mistake in found) or data == {}


def test_a_character_written_as_two_escapes_is_one() -> None:
    text = '{"name": "a", "clusters": {"\\ud800\\udc00": {"": null}, "\\ud800": 1}}'
    _, mistakes = check_site_text(text, Path("f"))
    assert [mistake.key for mistake in mistakes][:2] == ["clusters.\U00010000", "clusters.\U00010000."]


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "localhost", "gpu-1.example.org", "1a.example"])
def test_addresses_and_host_names_are_taken(host: str) -> None:
    site, mistakes = check_site_text(f"name: a\ngateway: {{host: '{host}'}}\n", Path("ai-how.yaml"))
    assert mistakes == []
    assert site is not None
    assert site.gateway.host == host


@pytest.mark.parametrize("host", ["999.1.1.1", "1.2.3", "", "a b", "-a", "a..b", "http://x", "127.0.0.1:80", "[::1]"])
def test_what_is_no_address_is_refused(host: str) -> None:
    site, mistakes = check_site_text(f"name: a\ngateway: {{host: '{host}'}}\n", Path("ai-how.yaml"))
    assert site is None
    assert len(mistakes) == 1
    assert str(mistakes[0]).startswith(f"ai-how.yaml:2:11: gateway.host: {host!r} is no address; write an IP address")


def test_absurd_numbers_are_refused_with_the_range_in_full() -> None:
    text = "name: a\nserving: {context_tokens: 99999999999999999999999}\n"
    assert str(check_site_text(text, Path("ai-how.yaml"))[1][0]).endswith(
        "is not allowed; write a whole number from 128 to 16777216 (tokens)"
    )


def test_a_named_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    site, mistakes = check_site_file(tmp_path / "pipe")
    assert site is None
    assert "is no regular file" in str(mistakes[0])


def test_what_a_shell_hands_over_is_read() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"name: piped\n")
    os.close(theirs)
    site, mistakes = check_site_file(Path(f"/dev/fd/{ours}"))
    os.close(ours)
    assert mistakes == []
    assert site is not None
    assert site.name == "piped"
