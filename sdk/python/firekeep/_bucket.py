"""Objects in the user's own bucket, written with the user's own credentials."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from .errors import AlreadyExistsError, FirekeepError


def put(url: str, data: bytes) -> None:
    """Write an object with the user's own credentials; an object that exists is not overwritten."""
    parts = urlsplit(url)
    key = parts.path.lstrip("/")
    if parts.scheme == "file":
        path = Path(parts.path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(path, "xb") as f:
                f.write(data)
        except FileExistsError:
            raise AlreadyExistsError(f"{url} exists already: write each round under a new name") from None
    elif parts.scheme == "s3":
        _put_s3(url, parts.netloc, key, data)
    elif parts.scheme == "gs":
        _put_gs(url, parts.netloc, key, data)
    else:
        raise ValueError(f"url: {url!r} is not a bucket URL: use s3://bucket/key, gs://bucket/key or file:///path")


def _put_s3(url: str, bucket: str, key: str, data: bytes) -> None:
    try:
        import boto3
        from botocore.exceptions import ClientError
    except ImportError:
        raise FirekeepError("writing to s3:// needs boto3: pip install 'firekeep[s3]'") from None
    try:
        boto3.client("s3").put_object(Bucket=bucket, Key=key, Body=data, IfNoneMatch="*")
    except ClientError as e:
        if e.response["Error"]["Code"] in ("PreconditionFailed", "ConditionalRequestConflict"):
            raise AlreadyExistsError(f"{url} exists already: write each round under a new name") from None
        raise


def _put_gs(url: str, bucket: str, key: str, data: bytes) -> None:
    try:
        from google.api_core.exceptions import PreconditionFailed
        from google.cloud import storage
    except ImportError:
        raise FirekeepError("writing to gs:// needs google-cloud-storage: pip install 'firekeep[gs]'") from None
    try:
        storage.Client().bucket(bucket).blob(key).upload_from_string(data, if_generation_match=0)
    except PreconditionFailed:
        raise AlreadyExistsError(f"{url} exists already: write each round under a new name") from None
