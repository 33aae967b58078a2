"""What the command line costs: start-up, a plan, an `up` with nothing to do, a push of a model that is there already.

Ratios against what a user would use instead, in one run: `python -c pass`, and `cp` with `sha256sum`.
Bounded: about a minute. Usage: python benchmarks/command_line.py [-o json] [--runs N]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
AI_HOW = [sys.executable, "-m", "ai_how"]
MODEL_MIB = 256


def timed(words: list[str], folder: Path, *, code: int = 0) -> float:
    began = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    took_s = time.perf_counter() - began
    if done.returncode != code:
        raise SystemExit(f"{' '.join(words)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return took_s


def repeated(runs: int, once: Callable[[], float]) -> dict[str, float]:
    times = [once() for _ in range(runs)]
    return {"median_s": statistics.median(times), "min_s": min(times), "max_s": max(times)}


def large_gguf(path: Path) -> None:
    """A sound GGUF file of MODEL_MIB that no engine would load: one tensor of random numbers."""
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    writer.add_context_length(128)
    values = np.random.RandomState(1).standard_normal(MODEL_MIB * 2**20 // 4).astype(np.float32)
    writer.add_tensor("token_embd.weight", values.reshape(-1, 1024))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measure(folder: Path, runs: int) -> dict[str, dict[str, float]]:
    (folder / "ai-how.yaml").write_text("name: bench\n")
    found = {
        "python -c pass": repeated(runs, lambda: timed([sys.executable, "-c", "pass"], folder)),
        "ai-how --help": repeated(runs, lambda: timed([*AI_HOW, "--help"], folder)),
        "ai-how plan, nothing there": repeated(runs, lambda: timed([*AI_HOW, "plan"], folder, code=2)),
    }
    subprocess.run([*AI_HOW, "up", "--yes"], cwd=folder, check=True, capture_output=True)
    found["ai-how plan, all there"] = repeated(runs, lambda: timed([*AI_HOW, "plan"], folder))
    found["ai-how up, nothing to do"] = repeated(runs, lambda: timed([*AI_HOW, "up", "--yes"], folder))
    model, copy = folder / "model.gguf", folder / "copy.gguf"
    large_gguf(model)

    def copy_and_hash() -> float:
        copy.unlink(missing_ok=True)
        return timed(["sh", "-c", "cp model.gguf copy.gguf && sha256sum copy.gguf"], folder)

    numbers = iter(range(10_000))

    def push_new() -> float:
        # another name is another upload; the digest cache is removed so that the file is read again
        (folder / ".ai-how/bench/cache/digests.json").unlink(missing_ok=True)
        return timed([*AI_HOW, "model", "push", "model.gguf", "--name", f"m{next(numbers)}"], folder)

    found[f"cp and sha256sum, {MODEL_MIB} MiB"] = repeated(runs, copy_and_hash)
    found[f"ai-how model push, {MODEL_MIB} MiB"] = repeated(min(runs, 3), push_new)
    again = [*AI_HOW, "model", "push", "model.gguf", "--name", "m0", "-o", "json"]
    found["ai-how model push, unchanged"] = repeated(runs, lambda: timed(again, folder))
    sent = json.loads(subprocess.run(again, cwd=folder, check=True, capture_output=True, text=True).stdout)[
        "sent_bytes"
    ]
    found["bytes sent for the unchanged model"] = {"median_s": float(sent), "min_s": float(sent), "max_s": float(sent)}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="ai-how-bench-"))
    try:
        found = measure(folder, arguments.runs)
    finally:
        subprocess.run([*AI_HOW, "destroy", "--yes"], cwd=folder, check=False, capture_output=True)
        shutil.rmtree(folder)
    sent = found.pop("bytes sent for the unchanged model")["median_s"]
    if arguments.output == "json":
        print(json.dumps({"machine": platform.machine(), "cores": os.cpu_count(), "sent_bytes": sent, "times": found}))
        return
    load = os.getloadavg()[0]
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {arguments.runs} runs, load {load:.1f}")
    for name, times in found.items():
        print(f"{name:<36} {times['median_s']:7.3f} s   ({times['min_s']:.3f} to {times['max_s']:.3f})")
    base = found["python -c pass"]["median_s"]
    plain = found[f"cp and sha256sum, {MODEL_MIB} MiB"]["median_s"]
    pushed = found[f"ai-how model push, {MODEL_MIB} MiB"]["median_s"]
    print(f"--help costs {found['ai-how --help']['median_s'] / base:.1f} times an empty Python")
    print(f"a first push costs {pushed / plain:.1f} times cp and sha256sum; an unchanged one sends {sent:.0f} bytes")


if __name__ == "__main__":
    main()
