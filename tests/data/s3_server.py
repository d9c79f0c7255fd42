"""A real S3 server on this machine, for tests. Each test has a bucket of its own."""

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyarrow import fs

ACCESS_KEY = "AKIA-of-the-tests"
SECRET_KEY = "hush-hush-of-the-tests"


class S3Server:
    """A new bucket of a running server, and its objects as files."""

    def __init__(self, port: int) -> None:
        self.port = port
        # The tests of one process share the server and its objects, so the name of a bucket must not occur twice.
        self.bucket = f"bucket-{secrets.token_hex(6)}"
        self.query = f"endpoint_override=127.0.0.1:{port}&scheme=http"
        self.files = fs.S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=f"127.0.0.1:{port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        self.files.create_dir(self.bucket)

    def uri(self, path: str) -> str:
        """The URI of an object or a prefix of the bucket, with the server's address."""
        return f"s3://{self.bucket}/{path}?{self.query}"

    def names(self, prefix: str) -> list[str]:
        """The names of the objects under a prefix, sorted."""
        selector = fs.FileSelector(f"{self.bucket}/{prefix}", recursive=True, allow_not_found=True)
        return sorted(info.base_name for info in self.files.get_file_info(selector))

    def read(self, path: str) -> bytes:
        """The content of an object."""
        with self.files.open_input_stream(f"{self.bucket}/{path}") as stream:
            data: bytes = stream.read()
            return data

    def write(self, path: str, data: bytes) -> None:
        """Write an object."""
        with self.files.open_output_stream(f"{self.bucket}/{path}") as stream:
            stream.write(data)

    def delete(self, path: str) -> None:
        """Delete an object."""
        self.files.delete_file(f"{self.bucket}/{path}")


@contextmanager
def serve_s3() -> Iterator[int]:
    """Run a server in this process; yields its port."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield server.get_host_and_port()[1]
    finally:
        server.stop()


def use_s3(port: int, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """Make a new bucket on a running server, and put credentials for it into the environment."""
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return S3Server(port)
