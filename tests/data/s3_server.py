"""A real S3-speaking server on loopback, for tests."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pyarrow import fs

BUCKET = "bucket"
ACCESS_KEY = "AKIA-of-the-tests"
SECRET_KEY = "hush-hush-of-the-tests"


class S3Server:
    """Its address, and its objects as files."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.query = f"endpoint_override=127.0.0.1:{port}&scheme=http"
        self.files = fs.S3FileSystem(
            access_key=ACCESS_KEY,
            secret_key=SECRET_KEY,
            endpoint_override=f"127.0.0.1:{port}",
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        self.files.create_dir(BUCKET)
        # Servers of one process share their objects.
        self.files.delete_dir_contents(BUCKET)

    def uri(self, path: str) -> str:
        return f"s3://{BUCKET}/{path}?{self.query}"

    def names(self, prefix: str) -> list[str]:
        selector = fs.FileSelector(f"{BUCKET}/{prefix}", recursive=True, allow_not_found=True)
        return sorted(info.base_name for info in self.files.get_file_info(selector))

    def read(self, path: str) -> bytes:
        with self.files.open_input_stream(f"{BUCKET}/{path}") as stream:
            data: bytes = stream.read()
            return data

    def write(self, path: str, data: bytes) -> None:
        with self.files.open_output_stream(f"{BUCKET}/{path}") as stream:
            stream.write(data)


@contextmanager
def serve_s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """A server with an empty bucket, and credentials for it in the environment."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_SESSION_TOKEN", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        yield S3Server(server.get_host_and_port()[1])
    finally:
        server.stop()
