"""A certificate authority for tests, by the openssl program: servers' and clients' certificates, expired ones too."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

OPENSSL = shutil.which("openssl")


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A certificate and its key, as PEM files."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates with elliptic keys, which are quick to make."""

    def __init__(self, folder: Path, name: str = "authority") -> None:
        if OPENSSL is None:
            pytest.skip("needs the openssl program")
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.pair = Pair(certificate=folder / f"{name}.crt", key=folder / f"{name}.key")
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.pair.key)
        extensions = ["-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=keyCertSign,cRLSign"]
        signed = ["-x509", "-new", "-key", self.pair.key, "-subj", f"/CN={name}", "-days", "2"]
        self._openssl("req", *signed, "-out", self.pair.certificate, *extensions)

    def issue(self, name: str, *, organisation: str = "", expired: bool = False, hosts: tuple[str, ...] = ()) -> Pair:
        """A certificate for 127.0.0.1 and clients alike, or for those hosts alone."""
        pair = Pair(certificate=self._folder / f"{name}.crt", key=self._folder / f"{name}.key")
        request = self._folder / f"{name}.csr"
        extensions = self._folder / f"{name}.ext"
        names = ",".join(f"DNS:{host}" for host in hosts) or "IP:127.0.0.1,DNS:localhost,DNS:kubernetes"
        extensions.write_text(f"subjectAltName={names}\nextendedKeyUsage=serverAuth,clientAuth\n")
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", pair.key)
        subject = (f"/O={organisation}" if organisation else "") + f"/CN={name}"
        self._openssl("req", "-new", "-key", pair.key, "-subj", subject, "-out", request)
        database = self._folder / "index.txt"
        database.write_text("")
        (self._folder / "serial").write_text("01\n" if not expired else "02\n")
        config = self._folder / "ca.cnf"
        config.write_text(
            f"[ca]\ndefault_ca=x\n[x]\ndatabase={database}\nserial={self._folder / 'serial'}\n"
            f"new_certs_dir={self._folder}\ndefault_md=sha256\npolicy=any\nunique_subject=no\n"
            "[any]\ncommonName=supplied\norganizationName=optional\n"
        )
        dates = ["20200101000000Z", "20200102000000Z"] if expired else ["20200101000000Z", "20991231000000Z"]
        own = ["-cert", self.pair.certificate, "-keyfile", self.pair.key]
        span = ["-startdate", dates[0], "-enddate", dates[1]]
        target = ["-in", request, "-out", pair.certificate, "-extfile", extensions]
        self._openssl("ca", "-batch", "-notext", "-config", config, *own, *span, *target)
        return pair

    @staticmethod
    def _openssl(*words: str | Path) -> None:
        assert OPENSSL is not None
        done = subprocess.run([OPENSSL, *map(str, words)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
