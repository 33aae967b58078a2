"""Reads the secrets of external services from the files that the site file names."""

from __future__ import annotations

import configparser
from pathlib import Path

from ai_how.errors import SpecError


def read_credentials(path: Path) -> tuple[str, str]:
    """Access key and secret key from an INI file as the AWS tools write it (its first section that has them).

    Raises:
        SpecError: no such file, or no keys in it.
    """
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(_text(path))
    except configparser.Error as error:
        # the parser's message quotes the line, which may be the secret
        raise SpecError(f"{path} is not an INI file", evidence=type(error).__name__) from None
    for section in parser.values():
        access, secret = section.get("aws_access_key_id"), section.get("aws_secret_access_key")
        if access and secret:
            return access, secret
    raise SpecError(
        f"{path} has no aws_access_key_id and aws_secret_access_key", next_step="write both below [default]"
    )


def read_password(path: Path) -> str:
    """The first line of a file."""
    lines = _text(path).splitlines()
    if not lines or not lines[0]:
        raise SpecError(f"{path} is empty", next_step="write the password on its first line")
    return lines[0]


def _text(path: Path) -> str:
    try:
        return path.expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"cannot read {path}", evidence=str(error), next_step="correct its name in the site file"
        ) from None
