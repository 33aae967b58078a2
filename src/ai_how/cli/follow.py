"""Prints a log file as it grows."""

from __future__ import annotations

import time
from pathlib import Path

import click


def follow_file(path: Path, *, every_s: float = 0.2) -> None:
    """Print what is appended until Ctrl-C; goes on with the new file when the log is rotated."""
    file = path.open("rb")
    file.seek(0, 2)
    try:
        while True:
            text = file.read()
            if text:
                click.echo(text.decode(errors="replace"), nl=False)
                continue
            time.sleep(every_s)
            try:
                rotated = path.stat().st_size < file.tell()
            except FileNotFoundError:
                continue
            if rotated:
                file.close()
                file = path.open("rb")
    except KeyboardInterrupt:
        return
    finally:
        file.close()
