"""The Python environment that a Kubespray release runs in: its own pinned Ansible, and ansible-runner."""

from __future__ import annotations

import platform
from importlib import resources
from pathlib import Path

from ai_how.apply.python_environment import PythonEnvironment
from ai_how.errors import MissingToolError, SpecError
from ai_how.releases.files import KUBESPRAY, load_world

RUNNER = "ansible-runner==2.4.3"


def environment_of(checkout: Path, version: str) -> PythonEnvironment:
    """The environment of a release: locked with hashes where we have its lock, else its own exact pins.

    Raises:
        SpecError: the checkout has no requirements, or none that are pinned.
        MissingToolError: this release does not run on the Python that ai-how runs on.
    """
    _refuse_python(version)
    lock = resources.files("ai_how.kubernetes").joinpath("requirements", f"{version}.lock")
    what = f"the environment of Kubespray {version}"
    name = f"kubespray-{version}"
    if lock.is_file():
        return PythonEnvironment(name=name, what=what, requirements=lock.read_text(encoding="utf-8"))
    pins = own_pins(checkout)
    return PythonEnvironment(name=name, what=what, requirements="\n".join((*pins, RUNNER, "")), hashed=False)


def own_pins(checkout: Path) -> tuple[str, ...]:
    """What Kubespray's own requirements file pins.

    Raises:
        SpecError: it is missing, or something in it is not pinned.
    """
    file = checkout / "requirements.txt"
    try:
        lines = [line.partition("#")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
    except FileNotFoundError as error:
        raise SpecError(f"{checkout} is no checkout of Kubespray", evidence=f"{file} is missing") from error
    pins = tuple(line for line in lines if line)
    loose = [pin for pin in pins if "==" not in pin]
    if loose:
        raise SpecError(f"{file} does not pin everything", evidence=", ".join(loose), next_step="use a release's tag")
    return pins


def _refuse_python(version: str) -> None:
    needs = [need for need in load_world().find(KUBESPRAY).release(version).needs if need.component == "python"]
    running = platform.python_version()
    if not all(need.matches(running) for need in needs):
        wanted = ", ".join(need.text for need in needs)
        raise MissingToolError(
            f"Kubespray {version} does not run on Python {running}",
            evidence=f"it needs {wanted}",
            next_step="install ai-how with such a Python, or choose another release set",
        )
