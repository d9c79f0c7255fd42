"""The page about the Python API: its code runs as it is written."""

import re
from pathlib import Path

import pytest

PAGE = Path("docs/python.md")


@pytest.mark.pages
def test_the_examples_run(
    small_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
    assert len(blocks) >= 5
    monkeypatch.chdir(tmp_path)
    # The page has the whole of the digits, which take longer, and a picture that the store of a demo has.
    samples = Path("kmcl_store/data/digits_samples")
    samples.mkdir(parents=True)
    picture(samples / "digits-test-0000_labels-0-4.png")
    names: dict[str, object] = {}
    for block in blocks:
        exec(block.replace('"digits"', repr(str(small_manifest))), names)
    printed = capsys.readouterr().out
    assert "SearchFile.space.optim.lr: valid: low below high (low is 1.0, high is 0.0)" in printed
    assert "True models:/first@champion" in printed
    assert Path("first-report.html").stat().st_size > 1_000_000


def picture(path: Path) -> None:
    from PIL import Image

    Image.new("L", (40, 40), 255).save(path)
