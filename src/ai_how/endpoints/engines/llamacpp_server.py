"""The program of one llama.cpp replica: loads a GGUF file and answers OpenAI's API until it is told to stop.

Started by ``LlamaCpp.command``. Says in one line why it cannot serve, with an exit code of its own for each reason.
Keep imports light: what is imported here delays every cold start.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

EXIT_MODEL = 3
EXIT_PORT = 4

PROMPT_CACHE_MIB = 256
"""Bound on memory for prompts of requests that have ended; llama.cpp's own default is 8 GiB."""
_WARNINGS = 2
_LAST_WORDS_S = 0.2


def main(argv: list[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    arguments = _parser().parse_args(argv)
    _require_gguf(arguments.model)
    _require_free_port(arguments.host, arguments.port)
    server = _start(arguments)  # noqa: F841 (it serves as long as it is referred to)
    # llama.cpp sets handlers of its own while it starts, which end its loop but leave this program running
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    _say(f"ready on http://{arguments.host}:{arguments.port}")
    stop.wait()
    _say("stopped")
    # llama.cpp's own way out waits for clients that still read a stream, without end. Nothing here needs to be saved:
    # the gateway has drained what it could, and the kernel closes the rest.
    os._exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="llamacpp_server", description=__doc__)
    parser.add_argument("--model", type=Path, required=True, help="GGUF file")
    parser.add_argument("--served-name", required=True, help="model name that clients send")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context-tokens", type=int, default=2048, help="for each request")
    parser.add_argument("--parallel-requests", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--adapter", type=Path, action="append", default=[], help="GGUF file; numbered from 0")
    parser.add_argument("--template-of", type=Path, help="folder whose chat template replaces the model's")
    return parser


def _require_gguf(model: Path) -> None:
    try:
        with model.open("rb") as stream:
            magic = stream.read(4)
    except OSError as error:
        _fail(EXIT_MODEL, f"cannot read the model {model}: {error.strerror}")
    if magic != b"GGUF":
        _fail(EXIT_MODEL, f"cannot load the model {model}: it is no GGUF file")


def _require_free_port(host: str, port: int) -> None:
    """llama.cpp does not say why it cannot listen, so ask first. Clients' closed connections do not block it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen(1)
        except OSError as error:
            _fail(EXIT_PORT, f"cannot listen on {host}:{port}: {error.strerror}")


def _start(arguments: argparse.Namespace) -> Any:
    """Load, warm up and listen; /health answers 503 until the model is loaded."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = str(arguments.model)
    params.model_alias = {arguments.served_name}
    params.hostnames = [arguments.host]
    params.port = arguments.port
    params.n_parallel = arguments.parallel_requests
    # the context is divided by the slots; llama.cpp caps each at what the model was trained for
    params.n_ctx = arguments.context_tokens * arguments.parallel_requests
    params.cpuparams.n_threads = arguments.threads
    params.cpuparams_batch.n_threads = arguments.threads
    params.cache_ram_mib = PROMPT_CACHE_MIB
    params.endpoint_metrics = True
    params.endpoint_slots = False  # it shows clients' prompts
    params.ui = False
    params.cors_origins = ""  # a web page in the user's browser must not reach a replica past the gateway
    params.verbosity = _WARNINGS
    # fitting layers into GPU memory loads the model twice; on the CPU it only costs time
    params.fit_params = False
    if arguments.adapter:
        _add_adapters(params, arguments.adapter)
    if arguments.template_of:
        from ai_how.endpoints.engines.chat_template import read_template

        params.chat_template = read_template(arguments.template_of) or ""
    try:
        return xllamacpp.Server(params)
    except RuntimeError:
        # llama.cpp's own words come from a thread of its own
        time.sleep(_LAST_WORDS_S)
        _fail(EXIT_MODEL, f"llama.cpp cannot load {arguments.model}; its reason stands above")


def _add_adapters(params: Any, files: list[Path]) -> None:
    """Load adapters beside the model, none in force unless a request says so (its field ``lora``).

    llama.cpp finds prompts of ended requests by their text alone, whichever adapter computed them: none are kept.
    """
    import xllamacpp

    for file in files:
        _require_gguf(file)
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(file), 0.0) for file in files]
    params.cache_ram_mib = 0


def _say(line: str) -> None:
    sys.stderr.write(f"llamacpp_server: {line}\n")
    sys.stderr.flush()


def _fail(code: int, line: str) -> NoReturn:
    _say(line)
    sys.exit(code)


if __name__ == "__main__":
    main()
