"""Runs Helm: install or upgrade a chart, roll back, uninstall. Each run has a bounded time and an end that is known.

Values and the kubeconfig are in files of mode 0600 for as long as it runs. The user's own Helm settings do not count.
One that outlives a killed ai-how is ended before the next one begins.
"""

from __future__ import annotations

import os
import shutil
import time
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ai_how.apply.files import write_json
from ai_how.errors import AiHowError, ConflictError, InterruptionError, ProviderError, TryAgainError
from ai_how.kubernetes.orphans import MARK, end_orphans, forget_run, new_mark, note_run
from ai_how.kubernetes_api.kubeconfig import Access
from ai_how.run.background import Background
from ai_how.stack.objects import Chart

HOOKS_TIMEOUT_S = 300
"""How long a chart's own Jobs may take."""
_BOUNDED = ("--timeout", f"{HOOKS_TIMEOUT_S}s")
_BEYOND_S = 120
_POLL_S = 0.2
_KEPT_REVISIONS = 5
_SHOWN_LINES = 8
Cancelled = Callable[[], bool]


@dataclass(frozen=True, kw_only=True)
class Helm:
    """The program, for one cluster. ``folder`` is where it notes what runs, in the site's own."""

    program: Path
    access: Access
    folder: Path
    cancelled: Cancelled = lambda: False

    def upgrade(self, chart: Chart, archive: Path, *, labels: Mapping[str, str]) -> None:
        """Install a chart, or bring its release to this version and these values; its pods are not waited for.

        Raises:
            ProviderError, ConflictError: Helm failed; the evidence is what it said.
            TryAgainError: it did not end in its time, or another Helm is at work.
        """
        words: list[str | Path] = ["upgrade", chart.release, archive, "--install", "--namespace", chart.namespace]
        words += ["--values", "values.yaml", "--history-max", str(_KEPT_REVISIONS), "--reset-values"]
        words += ["--labels", ",".join(f"{key}={value}" for key, value in labels.items()), *_BOUNDED]
        self._run(words, chart.release, f"install chart {chart.name} {chart.version}", values=chart.values)

    def rollback(self, release: str, namespace: str, revision: int) -> None:
        """Bring a release back to an earlier revision; as ``upgrade``."""
        words = ["rollback", release, str(revision), "--namespace", namespace, "--history-max", str(_KEPT_REVISIONS)]
        self._run([*words, *_BOUNDED], release, f"roll {release} back to revision {revision}")

    def uninstall(self, release: str, namespace: str) -> None:
        """Remove a release; its record stays, as ``uninstalled``, until it is forgotten; as ``upgrade``."""
        words = ["uninstall", release, "--namespace", namespace, "--keep-history", *_BOUNDED]
        self._run(words, release, f"uninstall {release}")

    def forget(self, release: str, namespace: str) -> None:
        """Remove the record of a release that is uninstalled; as ``upgrade``."""
        self._run(["uninstall", release, "--namespace", namespace, *_BOUNDED], release, f"forget {release}")

    def hooks(self, release: str, namespace: str) -> str:
        """The objects of a release's hooks, as YAML documents; as ``upgrade``."""
        words = ["get", "hooks", release, "--namespace", namespace]
        return self._run(words, release, f"read the hooks of {release}")

    def definitions(self, chart: Chart, archive: Path) -> str:
        """The definitions of kinds in a chart's own folders of them, as YAML documents; as ``upgrade``."""
        what = f"read the kinds of chart {chart.name} {chart.version}"
        return self._run(["show", "crds", archive], chart.release, what)

    def end_left(self, release: str) -> bool:
        """End what an earlier run left at work on a release; whether one of ours was broken off there."""
        note = self._note(release)
        broken_off = note.exists()
        end_orphans(note)
        return broken_off

    def _note(self, release: str) -> Path:
        return self.folder / f"helm-{release}.json"

    def _run(
        self, words: Sequence[str | Path], release: str, what: str, *, values: Mapping[str, Any] | None = None
    ) -> str:
        place, mark, note = self.folder / f"helm-{release}", new_mark(), self._note(release)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True, mode=0o700)
        try:
            write_json(place / "kubeconfig", kubeconfig_of(self.access))
            write_json(place / "values.yaml", dict(values or {}))
            argv = [self.program, *words, "--kubeconfig", place / "kubeconfig"]
            out, err = place / "out", place / "err"
            with Background(argv, env={**_environment(place), MARK: mark}, cwd=place, stdout=out, stderr=err) as helm:
                note_run(note, pid=helm.pid, mark=mark)
                code = self._follow(helm, what)
            said = [line for line in err.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
            told = out.read_text(encoding="utf-8", errors="replace")
        finally:
            # keys of the cluster do not stay
            shutil.rmtree(place, ignore_errors=True)
        # the note of a run that was broken off stays: what it left half done is ours to mend
        forget_run(note)
        if code != 0:
            raise _failure(what, code, said)
        return told

    def _follow(self, process: Background, what: str) -> int:
        until = time.monotonic() + HOOKS_TIMEOUT_S + _BEYOND_S
        while (code := process.wait(_POLL_S)) is None:
            if self.cancelled():
                process.end()
                raise InterruptionError(
                    f"could not {what}: it was broken off", next_step="ai-how up goes on from there"
                )
            if time.monotonic() > until:
                process.end()
                raise TryAgainError(f"could not {what}: Helm did not end in its time", next_step="ai-how up")
        return code


def kubeconfig_of(access: Access) -> dict[str, Any]:
    """A kubeconfig that lets in as ``access`` does; JSON is YAML."""
    cluster: dict[str, Any] = {"server": access.server}
    if access.authority_pem:
        cluster["certificate-authority-data"] = _base64(access.authority_pem)
    if access.server_name:
        cluster["tls-server-name"] = access.server_name
    if not access.verify:
        cluster["insecure-skip-tls-verify"] = True
    user = {
        "client-certificate-data": _base64(access.certificate_pem),
        "client-key-data": _base64(access.key_pem),
        "token": access.token,
    }
    context = {"cluster": "cluster", "user": "user"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "user", "user": {key: value for key, value in user.items() if value}}],
        "contexts": [{"name": "cluster", "context": context}],
        "current-context": "cluster",
    }


def _base64(pem: str) -> str:
    return b64encode(pem.encode("ascii")).decode("ascii")


def _environment(own: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HELM_", "KUBE"))}
    return {
        **kept,
        "HELM_DRIVER": "secret",
        **{f"HELM_{name}_HOME": str(own / name.lower()) for name in ("CACHE", "CONFIG", "DATA")},
    }


def _failure(what: str, code: int, said: Sequence[str]) -> AiHowError:
    evidence = "\n".join(line[:300] for line in said[-_SHOWN_LINES:]) or f"Helm ended with exit code {code}"
    text = " ".join(said)
    if "another operation" in text and "in progress" in text:
        return TryAgainError(
            f"could not {what}: another Helm is at work on it", evidence=evidence, next_step="ai-how up"
        )
    if "cannot be imported into the current release" in text:
        return ConflictError(
            f"could not {what}: something of that name is there and belongs to others",
            evidence=evidence,
            next_step="remove or rename what is in the way, or write stack: {enabled: false}",
        )
    if "cluster unreachable" in text.lower() or "connection refused" in text:
        return TryAgainError(
            f"could not {what}: no answer from the API server", evidence=evidence, next_step="ai-how up"
        )
    return ProviderError(f"could not {what}", evidence=evidence, next_step="mend what Helm names, then: ai-how up")
