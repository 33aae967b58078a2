"""Makes the site's secrets once and keeps them in files of mode 0600. Never prints one."""

from __future__ import annotations

import json
import secrets
import stat
from pathlib import Path

from ai_how.apply.files import read_json, write_atomic, write_json
from ai_how.errors import ProviderError
from ai_how.local.layout import Layout
from ai_how.models.types import SecretText

DEFAULT_KEY_NAME = "default"


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
        """What is wrong with the files, in a few words; None where all are there and private."""
        for path in self.files:
            if not path.exists():
                return f"{path.name} is missing"
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                return f"{path.name} can be read by others"
        return None

    def ensure(self, *, s3_identity: tuple[str, str] | None = None, database_password: str | None = None) -> None:
        """Make what is missing and set every mode to 0600; what exists stays as it is.

        Args:
            s3_identity: Access and secret key of an external object store, instead of new ones.
            database_password: Password of an external database, instead of a new one.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        if not self.api_keys.exists():
            write_json(self.api_keys, {DEFAULT_KEY_NAME: f"sk-{secrets.token_urlsafe(32)}"})
        if not self.admin_key.exists():
            write_atomic(self.admin_key, secrets.token_urlsafe(32) + "\n")
        if s3_identity or not (self.s3.exists() and self.s3_env.exists()):
            self._write_s3(s3_identity or (secrets.token_hex(10), secrets.token_urlsafe(30)))
        if database_password is not None or not self.database_env.exists():
            password = database_password if database_password is not None else secrets.token_urlsafe(24)
            write_atomic(self.database_env, f"PGPASSWORD={password}\n")
        for path in self.files:
            path.chmod(0o600)

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
        return SecretText(self.admin_key.read_text(encoding="utf-8").strip())

    def read_api_key(self) -> SecretText:
        """The default client key, or the first one where the default has been revoked."""
        keys = self.read_api_keys()
        if not keys:
            raise ProviderError("the site has no API key", next_step="make one: ai-how key create NAME")
        return SecretText(keys.get(DEFAULT_KEY_NAME) or next(iter(keys.values())))

    def read_api_keys(self) -> dict[str, str]:
        """Key name -> key."""
        found = read_json(self.api_keys)
        if not isinstance(found, dict):
            raise ProviderError(
                "the API keys cannot be read", evidence=str(self.api_keys), next_step="repair them: ai-how up"
            )
        return {str(name): str(value) for name, value in found.items()}

    def read_s3(self) -> tuple[str, SecretText]:
        """Access key and secret key of the object store."""
        values = read_env_file(self.s3_env)
        return values["AWS_ACCESS_KEY_ID"], SecretText(values["AWS_SECRET_ACCESS_KEY"])


def read_env_file(path: Path) -> dict[str, str]:
    """``NAME=value`` lines; no quoting, no comments: only files that we wrote ourselves."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)
