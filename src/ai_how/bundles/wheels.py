"""The wheels of Kubespray's Python environment: which of those that our lock allows fit a Python and a platform.

uv resolves them; of what it names, only files whose hash stands in the lock are taken.
"""

from __future__ import annotations

import platform as machine
import re
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ai_how.apply.python_environment import PythonEnvironment, index_settings
from ai_how.bundles.wanted import File, parse_platform
from ai_how.errors import AiHowError, ProviderError, SpecError
from ai_how.run.process import run

_TAGS = {"amd64": "x86_64-manylinux_2_28", "arm64": "aarch64-manylinux_2_28"}
_TIMEOUT_S = 300


def running_python() -> str:
    """The version of Python that ai-how runs on, as ``3.12``."""
    return ".".join(machine.python_version_tuple()[:2])


def wheels_of(environment: PythonEnvironment, *, python: str, platform: str) -> tuple[File, ...]:
    """The wheels of an environment.

    Args:
        python: The version that it will run on, as ``3.12``.

    Raises:
        SpecError: that is no version of Python.
        ProviderError: the package index does not answer, or has other files than the lock allows.
    """
    if re.fullmatch(r"3\.\d{1,2}", python) is None:
        raise SpecError(f"{python!r} is no version of Python", next_step="write it as --python 3.12")
    with tempfile.TemporaryDirectory(prefix="ai-how-") as text:
        listed, found = Path(text) / "requirements.txt", Path(text) / "pylock.toml"
        listed.write_text(environment.requirements, encoding="utf-8")
        words: list[str | Path] = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-header"]
        # with hashes the list is whole as it is
        words += ["--no-deps"] if environment.hashed else []
        words += ["--only-binary", ":all:", "--python-version", python]
        words += ["--python-platform", _TAGS[parse_platform(platform)[1]], "--format", "pylock.toml"]
        try:
            run([*words, "--output-file", found, listed], env=index_settings(), timeout_s=_TIMEOUT_S)
            lock = tomllib.loads(found.read_text(encoding="utf-8"))
        except AiHowError as error:
            raise ProviderError(
                f"the wheels of {environment.what.removeprefix('the ')} for Python {python} could not be found",
                evidence=error.evidence or error.brief,
                next_step="check the network and the package index (PIP_INDEX_URL), then run it again",
            ) from error
    allowed = set(re.findall(r"sha256:([0-9a-f]{64})", environment.requirements)) if environment.hashed else None
    return tuple(_best(package, allowed) for package in lock.get("packages", ()))


def _best(package: Mapping[str, Any], allowed: set[str] | None) -> File:
    """The file of a package. uv names those alone that fit, so any of them will do; it is always the same one."""
    fitting = sorted(each for each in _wheels(package) if allowed is None or each[1] in allowed)
    if not fitting:
        raise ProviderError(
            f"the package index has no wheel of {package['name']} {package.get('version', '')} that the lock allows",
            evidence=f"{len(list(_wheels(package)))} others were offered",
        )
    address, sha256 = fitting[0]
    return File(url=address, digest=f"sha256:{sha256}", kind="wheel")


def _wheels(package: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for wheel in package.get("wheels", ()):
        sha256 = wheel.get("hashes", {}).get("sha256", "")
        address = wheel.get("url") or Path(wheel.get("path", "")).absolute().as_uri()
        yield str(address), str(sha256)
