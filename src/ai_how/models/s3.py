"""A bucket of an S3-compatible store: the few calls that models need, with our errors.

The only module of ``models`` that imports boto3. Knows nothing of models.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, BinaryIO

from ai_how.errors import AiHowError, NotFoundError, ProviderError, TryAgainError
from ai_how.models.types import ObjectStoreAccess

if TYPE_CHECKING:
    from botocore.exceptions import BotoCoreError, ClientError
    from mypy_boto3_s3 import S3Client

MAX_CONNECTIONS = 16
_MISSING = {"NoSuchKey", "NoSuchUpload", "NoSuchBucket", "404"}
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "403"}


@dataclass(frozen=True, kw_only=True)
class StoredPart:
    """A part of an unfinished upload. ``etag`` is as the store gave it, without quotes."""

    number: int
    size_bytes: int
    etag: str


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as the store lists it. ``etag`` is without quotes; ``modified`` is ISO 8601."""

    key: str
    size_bytes: int
    etag: str
    modified: str


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An object that is being read: its content as a stream, and what the store says of it."""

    body: BinaryIO
    etag: str
    content_type: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Bucket:
    """The bucket that ``access`` names. Safe to use from several threads."""

    access: ObjectStoreAccess = field(repr=False)

    @cached_property
    def _client(self) -> S3Client:
        import boto3
        from botocore.config import Config

        return boto3.client(
            "s3",
            endpoint_url=self.access.endpoint_url,
            region_name=self.access.region,
            aws_access_key_id=self.access.access_key,
            aws_secret_access_key=str(self.access.secret_key),
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 3},
                connect_timeout=5,
                read_timeout=60,
                max_pool_connections=MAX_CONNECTIONS,
                # every S3-compatible store checks Content-MD5; not every one knows the newer trailing checksums
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                s3={"addressing_style": "path"},
            ),
        )

    def connect(self) -> None:
        """Make the client, before several threads want it at once; sends nothing."""
        _ = self._client

    def sizes(self, prefix: str) -> dict[str, int]:
        """Sizes of all objects below a prefix, by key."""
        with self._errors(f"list {prefix}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.access.bucket, Prefix=prefix)
            return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", ())}

    def listing(self) -> list[StoredObject]:
        """All objects of the bucket, by key."""
        with self._errors(f"list {self.access.bucket}"):
            pages = self._client.get_paginator("list_objects_v2").paginate(Bucket=self.access.bucket)
            return [
                StoredObject(
                    key=item["Key"],
                    size_bytes=item["Size"],
                    etag=item["ETag"].strip('"'),
                    modified=item["LastModified"].isoformat(),
                )
                for page in pages
                for item in page.get("Contents", ())
            ]

    @contextmanager
    def opened(self, key: str) -> Iterator[Opened]:
        """An object to be read from its beginning.

        Raises:
            NotFoundError: there is no such object.
        """
        with self._errors(key):
            answer = self._client.get_object(Bucket=self.access.bucket, Key=key)
            with answer["Body"] as body:
                yield Opened(
                    body=body,  # type: ignore[arg-type]
                    etag=answer["ETag"].strip('"'),
                    content_type=answer.get("ContentType", ""),
                    metadata={name.lower(): value for name, value in answer["Metadata"].items()},
                )

    def metadata(self, key: str) -> dict[str, str]:
        """The metadata of an object, names in lower case.

        Raises:
            NotFoundError: there is no such object.
        """
        with self._errors(key):
            found = self._client.head_object(Bucket=self.access.bucket, Key=key)["Metadata"]
            return {name.lower(): value for name, value in found.items()}

    def get(self, key: str) -> bytes:
        """A small object, whole.

        Raises:
            NotFoundError: there is no such object.
        """
        with self._errors(key):
            return self._client.get_object(Bucket=self.access.bucket, Key=key)["Body"].read()

    @contextmanager
    def open_range(self, key: str, start: int, end: int) -> Iterator[BinaryIO]:
        """Bytes ``start`` to ``end`` (exclusive) of an object, as a stream."""
        with self._errors(key):
            answer = self._client.get_object(Bucket=self.access.bucket, Key=key, Range=f"bytes={start}-{end - 1}")
            with answer["Body"] as body:
                yield body  # type: ignore[misc]

    def put(self, key: str, body: bytes, *, metadata: dict[str, str], content_type: str) -> None:
        """Write an object; the store checks what arrives."""
        with self._errors(key):
            self._client.put_object(
                Bucket=self.access.bucket,
                Key=key,
                Body=body,
                Metadata=metadata,
                ContentType=content_type,
                ContentMD5=_content_md5(body),
            )

    def delete(self, keys: list[str]) -> None:
        """Delete objects, one after the other so that the order counts; those that are gone are no error."""
        for key in keys:
            with self._errors(key):
                self._client.delete_object(Bucket=self.access.bucket, Key=key)

    def unfinished_uploads(self, prefix: str) -> list[tuple[str, str]]:
        """Key and id of every upload below a prefix that was begun and not finished, oldest first."""
        with self._errors(f"list uploads of {prefix}"):
            pages = self._client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self.access.bucket, Prefix=prefix
            )
            uploads = [upload for page in pages for upload in page.get("Uploads", ())]
        uploads.sort(key=lambda upload: upload["Initiated"])
        return [(upload["Key"], upload["UploadId"]) for upload in uploads if upload["Key"].startswith(prefix)]

    def parts(self, key: str, upload_id: str) -> dict[int, StoredPart]:
        """The parts of an unfinished upload that have arrived, by number.

        Raises:
            NotFoundError: the upload has been finished or aborted.
        """
        with self._errors(key):
            pages = self._client.get_paginator("list_parts").paginate(
                Bucket=self.access.bucket, Key=key, UploadId=upload_id
            )
            found = [part for page in pages for part in page.get("Parts", ())]
        return {
            part["PartNumber"]: StoredPart(
                number=part["PartNumber"], size_bytes=part["Size"], etag=part["ETag"].strip('"')
            )
            for part in found
        }

    def begin_upload(
        self, key: str, *, metadata: dict[str, str], content_type: str = "application/octet-stream"
    ) -> str:
        """Begin an upload in parts; returns its id."""
        with self._errors(key):
            return self._client.create_multipart_upload(
                Bucket=self.access.bucket, Key=key, Metadata=metadata, ContentType=content_type
            )["UploadId"]

    def put_part(self, key: str, upload_id: str, number: int, body: bytes) -> StoredPart:
        """Write one part; the store checks what arrives.

        Raises:
            NotFoundError: the upload has been finished or aborted.
        """
        with self._errors(key):
            answer = self._client.upload_part(
                Bucket=self.access.bucket,
                Key=key,
                UploadId=upload_id,
                PartNumber=number,
                Body=body,
                ContentMD5=_content_md5(body),
            )
        return StoredPart(number=number, size_bytes=len(body), etag=answer["ETag"].strip('"'))

    def finish_upload(self, key: str, upload_id: str, parts: list[StoredPart]) -> None:
        """Make the object out of its parts.

        Raises:
            NotFoundError: the upload has been finished or aborted.
        """
        listed = [{"PartNumber": part.number, "ETag": f'"{part.etag}"'} for part in parts]
        with self._errors(key):
            self._client.complete_multipart_upload(
                Bucket=self.access.bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": listed},  # type: ignore[typeddict-item]
            )

    def abort_upload(self, key: str, upload_id: str) -> None:
        """Forget an unfinished upload and its parts."""
        with self._errors(key):
            self._client.abort_multipart_upload(Bucket=self.access.bucket, Key=key, UploadId=upload_id)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        from botocore import exceptions as boto

        try:
            yield
        except boto.ClientError as error:
            raise self._refusal(error, what) from error
        except (boto.ConnectionError, boto.HTTPClientError, boto.IncompleteReadError) as error:
            raise TryAgainError(
                f"the object store at {self.access.endpoint_url} does not answer",
                evidence=_reason(error),
                next_step="ai-how up, then run the same command again: it goes on where it was",
            ) from error
        except boto.BotoCoreError as error:
            raise ProviderError(f"the object store failed: {what}", evidence=_first_line(error)) from error

    def _refusal(self, error: ClientError, what: str) -> AiHowError:
        code = error.response.get("Error", {}).get("Code", "")
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        evidence = _first_line(error)
        if code in _MISSING:
            return NotFoundError(f"not in the object store: {what}", evidence=evidence)
        if code in _REFUSED:
            return ProviderError(
                f"the object store refuses our keys for bucket {self.access.bucket}",
                evidence=evidence,
                next_step="ai-how up, or check the credentials file of an external store",
            )
        if status >= 500 or code in ("SlowDown", "RequestTimeout"):
            return TryAgainError(
                f"the object store cannot do it now: {what}",
                evidence=evidence,
                next_step="see whether its disk is nearly full, and: ai-how status; then run the same command again",
            )
        return ProviderError(f"the object store refused: {what}", evidence=evidence)


def part_etag(body: bytes) -> str:
    """The ETag that S3 gives to a part."""
    return hashlib.md5(body, usedforsecurity=False).hexdigest()


def _content_md5(body: bytes) -> str:
    return base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()


def _reason(error: BotoCoreError) -> str:
    """Why a connection failed, without the address, which is long and says nothing."""
    return str(error.kwargs.get("error") or _first_line(error)).rsplit(": ", 1)[-1]


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
