"""Writes the first site file of a machine: the few keys that people change, with defaults and a short why. Pure."""

from __future__ import annotations

import re
import textwrap
import unicodedata
from collections.abc import Sequence

from ai_how.site.spec import Gateway, ObjectStore, Registry, Serving, Site, Targets

SCHEMA_FILE = "ai-how.schema.json"
VERSIONS = (
    "# Versions of the software: ai-how versions. In quotes, as 1.30 is a number.",
    "#release: current",
    "#pins:",
    '#  kubernetes: "1.34"',
    "",
)
"""What a first site file of clusters says of versions."""


def valid_name(text: str) -> str:
    """The site name nearest to any text, such as a folder's name; ``site`` where nothing of it can be kept."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    name = re.sub(r"[^a-z0-9-]+", "-", plain).strip("-")
    if name and not name[0].isalpha():
        name = f"site-{name}"
    return name[:32].rstrip("-") or "site"


def render_template(
    *, name: str, cpu_cores: int, memory_gib: float, gpus: Sequence[str] = (), with_schema: bool = False
) -> str:
    """A commented site file for this machine.

    Args:
        name: The site's name; must be a valid one.
        cpu_cores: Physical cores.
        gpus: Names of the NVIDIA GPUs, one entry each.
        with_schema: Whether the JSON Schema lies beside the file, so that editors can be pointed to it.
    """
    editors = f"# yaml-language-server: $schema={SCHEMA_FILE}\n" if with_schema else ""
    return editors + "\n".join(
        [
            *_head(name, found_words(cpu_cores, memory_gib, gpus)),
            *_gateway(),
            *_serving(cpu_cores, gpus),
            *_stores(),
            *_targets(),
        ]
    )


def found_words(cpu_cores: int, memory_gib: float, gpus: Sequence[str]) -> str:
    """What was found on a machine, in words."""
    cores = "1 core" if cpu_cores == 1 else f"{cpu_cores} cores"
    kinds = [f"{gpus.count(gpu)} x {gpu}" for gpu in dict.fromkeys(gpus)]
    return f"{cores}, {memory_gib:.1f} GiB of memory, " + (" and ".join(kinds) or "no NVIDIA GPU")


def _head(name: str, found: str) -> list[str]:
    return [
        "# What `ai-how up` makes and keeps. Check this file with: ai-how validate",
        "# Lines such as `#port: auto` are defaults: take the # away to change one.",
        "# Editors complete every key with the schema: ai-how schema > " + SCHEMA_FILE,
        "#",
        *textwrap.wrap(f"# Found on this machine: {found}.", width=80, subsequent_indent="# "),
        "",
        f"version: {_default(Site, 'version')}",
        f"name: {quoted(name)}",
        f"provider: {_default(Site, 'provider')}  # processes on this machine",
        "",
        "# Where data, logs and secrets lie; a folder with room for your models.",
        f"#state_dir: .ai-how/{name}",
        "",
    ]


def quoted(name: str) -> str:
    """A valid site name as YAML that is read as text."""
    # valid names that YAML, old or new, reads as something else
    return f'"{name}"' if name in {"null", "true", "false", "yes", "no", "on", "off", "y", "n"} else name


def _gateway() -> list[str]:
    return [
        "gateway:",
        "  # Any other address than loopback lets other machines in, with an API key.",
        f"  host: {_default(Gateway, 'host')}",
        "  # auto chooses a free port once and keeps it; write a number to choose it.",
        f"  port: {_default(Gateway, 'port')}",
        "  # Larger request bodies are refused, MiB.",
        f"  #max_request_mib: {_default(Gateway, 'max_request_mib')}",
        "  # How long a request waits for a model to wake or to have room, seconds.",
        f"  #hold_timeout_s: {_default(Gateway, 'hold_timeout_s')}",
        "",
    ]


def _serving(cpu_cores: int, gpus: Sequence[str]) -> list[str]:
    engine = "vLLM if it is installed, as there is a GPU" if gpus else "llama.cpp here, as there is no GPU"
    return [
        "serving:",
        f"  # auto takes {engine}.",
        f"  engine: {_default(Serving, 'engine')}",
        "  # Longest prompt plus answer, tokens. More takes more memory.",
        f"  context_tokens: {_default(Serving, 'context_tokens')}",
        "  # Requests that one replica works on at once.",
        f"  parallel_requests: {_default(Serving, 'parallel_requests')}",
        "  # An unneeded replica is stopped after so long, seconds.",
        f"  idle_after_s: {_default(Serving, 'idle_after_s')}",
        f"  # CPU threads of a replica; auto is one for each physical core ({cpu_cores} here).",
        f"  #threads: {_default(Serving, 'threads')}",
        "",
    ]


def _stores() -> list[str]:
    return [
        "# Model files. To use an S3-compatible store of your own: type: external,",
        "# with endpoint_url and credentials_file (INI, mode 0600).",
        "#object_store:",
        f"#  type: {_default(ObjectStore, 'type')}",
        f"#  bucket: {_default(ObjectStore, 'bucket')}",
        "",
        "# MLflow, where the models are registered. `database: postgresql` runs a",
        "# PostgreSQL here; postgresql://user@host:port/name uses one of yours.",
        "#registry:",
        f"#  database: {_default(Registry, 'database')}",
        "",
    ]


def _targets() -> list[str]:
    return [
        "# What `ai-how bench` compares its figures with.",
        "#targets:",
        *(f"#  {key}: {_default(Targets, key)}" for key in Targets.model_fields),
        "",
    ]


def _default(section: type[Site | Gateway | ObjectStore | Registry | Serving | Targets], key: str) -> object:
    # from the model, so that the file cannot tell another default than the one that holds
    return section.model_fields[key].default
