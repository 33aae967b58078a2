"""Makes the site's secrets once and keeps them in files of mode 0600. Never prints one."""

from __future__ import annotations

import json
import secrets
import stat
from collections.abc import Callable
from pathlib import Path

from ai_how.apply.files import write_atomic, write_json
from ai_how.errors import AiHowError, ProviderError
from ai_how.local.layout import Layout
from ai_how.models.types import SecretText

DEFAULT_KEY_NAME = "default"


def new_api_key() -> str:
    """A key that clients of the gateway may send."""
    return f"sk-{secrets.token_urlsafe(32)}"


class Secrets:
    """The secrets of a site, each in the form that its reader wants."""

    def __init__(self, layout: Layout) -> None:
        self.folder = layout.secrets
        self.api_keys = self.folder / "api-keys.json"
        self.admin_key = self.folder / "admin-key"
        self.s3 = self.folder / "s3.json"
        self.s3_env = self.folder / "s3.env"
        self.database_env = self.folder / "database.env"

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.api_keys, self.admin_key, self.s3, self.s3_env, self.database_env)

    def problem(self) -> str | None:
        """What is wrong with the files, in a few words; None where all are there, private and sound."""
        for path in self.files:
            if not path.exists():
                return f"{path.name} is missing"
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                return f"{path.name} can be read by others"
            if not self.is_sound(path):
                return f"{path.name} is damaged"
        return None

    def ensure(
        self, *, s3_identity: tuple[str, str] | None = None, database_password: str | None = None
    ) -> tuple[Path, ...]:
        """Make what is missing or damaged and set every mode to 0600; what is sound stays as it is.

        A damaged file is kept beside the new one, under the name that ``kept_aside`` gives it.

        Args:
            s3_identity: Access and secret key of an external object store, instead of new ones.
            database_password: Password of an external database, instead of a new one.

        Returns:
            The files that were damaged: what they held no longer works.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        known_s3 = self._known_s3()
        damaged = tuple(path for path in self.files if path.exists() and not self.is_sound(path))
        for path in damaged:
            path.chmod(0o600)
            path.rename(kept_aside(path))
        if not self.api_keys.exists():
            write_json(self.api_keys, {DEFAULT_KEY_NAME: new_api_key()})
        if not self.admin_key.exists():
            write_atomic(self.admin_key, secrets.token_urlsafe(32) + "\n")
        if s3_identity or not (self.s3.exists() and self.s3_env.exists()):
            self._write_s3(s3_identity or known_s3 or (secrets.token_hex(10), secrets.token_urlsafe(30)))
        if database_password is not None or not self.database_env.exists():
            password = database_password if database_password is not None else secrets.token_urlsafe(24)
            write_atomic(self.database_env, f"PGPASSWORD={password}\n")
        for path in self.files:
            path.chmod(0o600)
        return damaged

    def is_sound(self, path: Path) -> bool:
        """Whether a file that is there holds what its readers look for."""
        checks: dict[Path, Callable[[], object]] = {
            self.api_keys: self.read_api_key,
            self.admin_key: self.read_admin_key,
            self.s3: self._read_s3_json,
            self.s3_env: self.read_s3,
            self.database_env: lambda: read_env_file(self.database_env)["PGPASSWORD"],
        }
        try:
            checks[path]()
        except (AiHowError, ValueError, LookupError, TypeError):
            return False
        return True

    def _read_s3_json(self) -> tuple[str, str]:
        first = json.loads(_text(self.s3))["identities"][0]["credentials"][0]
        return first["accessKey"], first["secretKey"]

    def _known_s3(self) -> tuple[str, str] | None:
        """The object store's keys from the one of their two files that is sound."""
        if self.is_sound(self.s3_env):
            return self.read_s3()
        return self._read_s3_json() if self.is_sound(self.s3) else None

    def _write_s3(self, identity: tuple[str, str]) -> None:
        access_key, secret_key = identity
        # the form that SeaweedFS reads; see "S3 credentials" in its documentation
        config = {
            "identities": [
                {
                    "name": "ai-how",
                    "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
                    "actions": ["Admin", "Read", "Write", "List", "Tagging"],
                }
            ]
        }
        write_atomic(self.s3, json.dumps(config, indent=2) + "\n")
        write_atomic(self.s3_env, f"AWS_ACCESS_KEY_ID={access_key}\nAWS_SECRET_ACCESS_KEY={secret_key}\n")

    def read_admin_key(self) -> SecretText:
        key = _text(self.admin_key).strip()
        if not key:
            raise _unreadable(self.admin_key, "it is empty")
        return SecretText(key)

    def read_api_key(self) -> SecretText:
        """The default client key, or the first one where the default has been revoked."""
        keys = self.read_api_keys()
        return SecretText(keys.get(DEFAULT_KEY_NAME) or next(iter(keys.values())))

    def read_api_keys(self) -> dict[str, str]:
        """Key name -> key; at least one.

        Raises:
            ProviderError: the file is missing or damaged.
        """
        try:
            found = json.loads(_text(self.api_keys))
        except ValueError as error:
            raise _unreadable(self.api_keys, f"it is no JSON: {error}") from error
        if not (isinstance(found, dict) and found and all(isinstance(key, str) and key for key in found.values())):
            raise _unreadable(self.api_keys, "it must be a JSON object of names and keys")
        return found

    def read_s3(self) -> tuple[str, SecretText]:
        """Access key and secret key of the object store."""
        try:
            values = read_env_file(self.s3_env)
            return values["AWS_ACCESS_KEY_ID"], SecretText(values["AWS_SECRET_ACCESS_KEY"])
        except KeyError as error:
            raise _unreadable(self.s3_env, f"it lacks {error.args[0]}") from error


def kept_aside(path: Path) -> Path:
    """The name that a damaged file gets: the first that is free."""
    names = (path.with_name(f"{path.name}.damaged{number}") for number in ("", *range(2, 1000)))
    return next(name for name in names if not name.exists())


def read_env_file(path: Path) -> dict[str, str]:
    """``NAME=value`` lines; no quoting, no comments: only files that we wrote ourselves."""
    lines = _text(path).splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise _unreadable(path, error.strerror or str(error)) from error
    except UnicodeDecodeError as error:
        raise _unreadable(path, "it is no text") from error


def _unreadable(path: Path, why: str) -> ProviderError:
    """The error for a file of secrets; never with a line of it."""
    return ProviderError(
        f"the site's secrets cannot be read: {path.name}",
        evidence=f"{path}: {why}",
        next_step="ai-how up makes new ones in its place, which end clients' keys; a backup has the old ones",
    )
