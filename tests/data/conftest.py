"""Fixtures of the tests of data."""

from collections.abc import Iterator

import pytest

from tests.data.s3_server import S3Server, serve_s3, use_s3


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    """The port of an S3 server that the session's tests share."""
    with serve_s3() as port:
        yield port


@pytest.fixture
def s3(s3_port: int, monkeypatch: pytest.MonkeyPatch) -> S3Server:
    """A new bucket on the shared server for each test, and credentials for it in the environment."""
    return use_s3(s3_port, monkeypatch)
