"""The registry's own Python environment: MLflow's server needs packages that must not bind ai-how's."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from ai_how.apply.python_environment import PythonEnvironment, is_ready

__all__ = ["environment", "environment_path", "install", "is_ready", "lock_text", "mlflow_version"]


def lock_text() -> str:
    """The locked requirements that belong to this version of ai-how."""
    return resources.files("ai_how.local").joinpath("mlflow.lock").read_text(encoding="utf-8")


def environment() -> PythonEnvironment:
    """MLflow's environment."""
    return PythonEnvironment(name="mlflow", what="the registry's environment", requirements=lock_text())


def environment_path() -> Path:
    """Where the environment belongs."""
    return environment().path


def install(path: Path) -> None:
    """Make the environment in a folder, where it is not ready."""
    environment().install(path)


def mlflow_version() -> str:
    """MLflow's version in these requirements."""
    line = next(line for line in lock_text().splitlines() if line.startswith("mlflow=="))
    return line.removeprefix("mlflow==").split()[0]
