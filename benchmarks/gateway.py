"""What the gateway costs: the same load on an engine and on the gateway in front of it, in turn, in one run.

    python benchmarks/gateway.py                        # an engine that answers at once
    python benchmarks/gateway.py --model FILE.gguf      # llama.cpp too
    python benchmarks/gateway.py --engine real --model FILE.gguf -o json

Added P50 is the gateway's P50 less the engine's in the same round; the ratio is its throughput over the engine's.
Each is the median of the rounds, with their smallest and largest. Everything runs on one machine and shares its cores.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ai_how.endpoints.engines.base import EngineCommand, ReplicaLaunch
from ai_how.endpoints.engines.llamacpp import LlamaCpp
from ai_how.errors import TryAgainError
from ai_how.models.types import ModelFormat, ModelInfo
from ai_how.run.http import request

ROOT = Path(__file__).parents[1]
PARTS = Path(__file__).parent / "parts"
KEY = "benchmark"
MODEL = "bench"
CONCURRENCY = (1, 8, 32)
SLOTS = 32
REAL_SLOTS = 8
AIM_ADDED_MS = 1.0
AIM_RATIO = 0.95


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is sent, how long, how often."""

    engine: str
    description: str
    body: dict[str, Any]
    slots: int
    seconds: float
    rounds: int
    close: bool


@dataclass(frozen=True, kw_only=True)
class Row:
    """One concurrency: medians over the rounds; pairs are smallest and largest."""

    engine: str
    concurrency: int
    engine_p50_ms: float
    gateway_p50_ms: float
    added_p50_ms: float
    added_p50_ms_range: tuple[float, float]
    engine_per_second: float
    gateway_per_second: float
    ratio: float
    ratio_range: tuple[float, float]
    errors: int
    rounds: int
    requests: int


def measure(workload: Workload, engine_url: str, gateway_url: str) -> Iterator[Row]:
    """Engine, gateway, engine, gateway ... at each concurrency."""
    for concurrency in CONCURRENCY:
        pairs = []
        for turn in range(workload.rounds):
            urls = (engine_url, gateway_url) if turn % 2 == 0 else (gateway_url, engine_url)
            found = {url: load(workload, url, concurrency) for url in urls}
            pairs.append((found[engine_url], found[gateway_url]))
        yield row(workload.engine, concurrency, pairs)


def row(engine: str, concurrency: int, pairs: list[tuple[dict[str, float], dict[str, float]]]) -> Row:
    added = [through["p50_ms"] - direct["p50_ms"] for direct, through in pairs]
    ratios = [through["per_second"] / direct["per_second"] for direct, through in pairs]
    return Row(
        engine=engine,
        concurrency=concurrency,
        engine_p50_ms=statistics.median(direct["p50_ms"] for direct, _ in pairs),
        gateway_p50_ms=statistics.median(through["p50_ms"] for _, through in pairs),
        added_p50_ms=statistics.median(added),
        added_p50_ms_range=(min(added), max(added)),
        engine_per_second=statistics.median(direct["per_second"] for direct, _ in pairs),
        gateway_per_second=statistics.median(through["per_second"] for _, through in pairs),
        ratio=statistics.median(ratios),
        ratio_range=(min(ratios), max(ratios)),
        errors=int(sum(direct["errors"] + through["errors"] for direct, through in pairs)),
        rounds=len(pairs),
        requests=int(sum(direct["requests"] + through["requests"] for direct, through in pairs)),
    )


def load(workload: Workload, url: str, concurrency: int) -> dict[str, float]:
    words = [sys.executable, str(PARTS / "closed_loop.py"), "--url", f"{url}/v1/completions", "--key", KEY]
    words += ["--body", json.dumps(workload.body), "--connections", str(concurrency)]
    words += ["--seconds", str(workload.seconds), *(["--close"] if workload.close else [])]
    done = subprocess.run(words, check=True, capture_output=True, text=True, timeout=workload.seconds + 60)
    found: dict[str, float] = json.loads(done.stdout)
    return found


@contextmanager
def process(command: EngineCommand, health: str, log: Path) -> Iterator[None]:
    """A server, until the block ends."""
    with log.open("wb") as output:
        running = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.env},
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
        )
    try:
        wait_until_healthy(health, running, log)
        yield
    finally:
        running.terminate()
        try:
            running.wait(10)
        except subprocess.TimeoutExpired:
            running.kill()


def wait_until_healthy(url: str, running: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            if request("GET", url).status == 200:
                return
        except TryAgainError:
            pass
        if running.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"{url} did not come up:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


def engine_command(workload: Workload, port: int, model: Path | None, scratch: Path) -> EngineCommand:
    """The real one as a replica would run it, on all cores but one: the load and the gateway need some too."""
    if model is None or workload.engine == "fake":
        return EngineCommand(argv=(sys.executable, str(ROOT / "tests" / "fake_engine.py"), "--port", str(port)))
    folder = scratch / "model"
    folder.mkdir()
    (folder / "model.gguf").symlink_to(model.resolve())
    launch = ReplicaLaunch(
        served_name=MODEL,
        model_dir=folder,
        info=ModelInfo(format=ModelFormat.GGUF, architecture="", parameters=0, dtype=""),
        scratch_dir=scratch,
        host="127.0.0.1",
        port=port,
        context_tokens=256,
        parallel_requests=workload.slots,
        threads=max(1, (os.cpu_count() or 1) - 1),
    )
    return LlamaCpp().command(launch)


def run(workload: Workload, model: Path | None) -> list[Row]:
    """Start engine and gateway, measure, stop both."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engine_port, port, admin_port = free_port(), free_port(), free_port()
        config = {
            **{"site": "bench", "host": "127.0.0.1", "port": port, "admin_port": admin_port},
            "api_keys_file": str(folder / "keys.json"),
            "admin_key_file": str(folder / "admin"),
            "endpoints_dir": str(folder / "endpoints"),
            "gateway": {},
            "serving": {"parallel_requests": workload.slots},
        }
        (folder / "gateway.json").write_text(json.dumps(config))
        (folder / "keys.json").write_text(json.dumps({"default": KEY}))
        (folder / "admin").write_text(KEY)
        words = (sys.executable, str(PARTS / "gateway_process.py"), str(folder / "gateway.json"), str(engine_port))
        gateway, engine = EngineCommand(argv=words), engine_command(workload, engine_port, model, folder)
        engine_url, url = f"http://127.0.0.1:{engine_port}", f"http://127.0.0.1:{port}"
        with (
            process(engine, f"{engine_url}/health", folder / "engine.log"),
            process(gateway, f"{url}/v2/health/live", folder / "gateway.log"),
        ):
            deploy(f"http://127.0.0.1:{admin_port}")
            wait_ready(url)
            return list(measure(workload, engine_url, url))


def deploy(admin_url: str) -> None:
    spec = {"name": MODEL, "model_name": MODEL, "model_version": 1, "model_uri": "", "model_digest": "", "engine": ""}
    answer = request(
        "PUT",
        f"{admin_url}/admin/v1/endpoints/{MODEL}",
        json_body=spec,
        headers={"authorization": f"Bearer {KEY}"},
    )
    if answer.status != 200:
        raise SystemExit(answer.text)


def wait_ready(url: str) -> None:
    deadline = time.monotonic() + 60
    while request("GET", f"{url}/v2/models/{MODEL}/ready").status != 200:
        if time.monotonic() > deadline:
            raise SystemExit("the engine did not become ready")
        time.sleep(0.05)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def machine() -> dict[str, Any]:
    """Where the figures come from."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(": ")[2] if names else model
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), "system": platform.system()}


def workloads(given: argparse.Namespace) -> list[Workload]:
    tokens = {"max_tokens": 16, "temperature": 0, "prompt": "Once upon a time there was a small machine that"}
    stream = {"stream": True} if given.stream else {}
    how = "streamed" if given.stream else "whole"
    fake = Workload(
        engine="fake",
        description=f"an engine that answers at once ({how}, 5 tokens), {SLOTS} slots, connections kept",
        body={"model": MODEL, "prompt": "hi there", **stream},
        slots=SLOTS,
        seconds=given.seconds or 1.0,
        rounds=given.rounds or 3,
        close=False,
    )
    real = Workload(
        engine="real",
        description=f"llama.cpp, 10-word prompt, 16 tokens ({how}), {REAL_SLOTS} slots, a connection for each request",
        body={"model": MODEL, **tokens, **stream},
        slots=REAL_SLOTS,
        seconds=given.seconds or 3.0,
        rounds=given.rounds or 2,
        close=True,
    )
    wanted = given.engine or ("both" if given.model else "fake")
    return [w for w in (fake, real) if wanted in (w.engine, "both")]


def print_table(workload: Workload, rows: list[Row]) -> None:
    print(f"\n{workload.engine}: {workload.description}; {workload.rounds} rounds of {workload.seconds:g} s each")
    print("at once   P50 ms engine  gateway  added (min..max)      req/s engine  gateway  ratio (min..max)")
    for row in rows:
        low, high = row.added_p50_ms_range
        print(
            f"{row.concurrency:>7}   {row.engine_p50_ms:>13.2f}  {row.gateway_p50_ms:>7.2f}"
            f"  {row.added_p50_ms:>5.2f} ({low:.2f}..{high:.2f})".ljust(56)
            + f"{row.engine_per_second:>11.1f}  {row.gateway_per_second:>7.1f}"
            f"  {row.ratio:>5.2f} ({row.ratio_range[0]:.2f}..{row.ratio_range[1]:.2f})"
            + (f"  {row.errors} errors" if row.errors else "")
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("fake", "real"), help="only this one")
    parser.add_argument("--model", type=Path, help="GGUF file for the real engine")
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--rounds", type=int, help="engine and gateway in turn, so often")
    parser.add_argument("--stream", action="store_true", help="streamed answers")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table")
    given = parser.parse_args()
    if given.engine == "real" and not given.model:
        parser.error("--engine real needs --model FILE.gguf")
    where = machine()
    results = [(workload, run(workload, given.model)) for workload in workloads(given)]
    failed = sum(row.errors for _, rows in results for row in rows)
    if given.output == "json":
        found = [{"workload": asdict(workload), "rows": [asdict(row) for row in rows]} for workload, rows in results]
        print(json.dumps({"machine": where, "results": found}, indent=2))
        sys.exit(1 if failed else 0)
    print(f"{where['cpu']}, {where['cores']} cores, Python {where['python']}; shared by load, gateway and engine")
    for workload, rows in results:
        print_table(workload, rows)
    print(
        f"\naim: less than {AIM_ADDED_MS:g} ms added at 1 at once; more than {AIM_RATIO} of a real engine's throughput"
    )


if __name__ == "__main__":
    main()
