"""The decoder of JPEG files, which depends on what is installed."""

import pytest

from kmcl_platform.data.loading import decode


@pytest.fixture(params=["torchcodec", "Pillow"])
def jpeg_decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """JPEG files are decoded by torchcodec, then by Pillow, as where torchcodec is not installed."""
    if request.param == "Pillow":
        monkeypatch.setattr(decode, "decode_jpeg", None)
    elif decode.decode_jpeg is None:
        pytest.skip("torchcodec is not installed")
