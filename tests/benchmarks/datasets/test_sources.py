"""What the datasets of benchmarks/datasets read from their packages. The packages here are small and made by the test."""

import io
import re
import sys
import tarfile
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image, ImageFont

from benchmarks.datasets import kanji, openclipart, openmoji
from benchmarks.datasets.command import run
from benchmarks.datasets.lite0_weights import rename
from benchmarks.datasets.packages import debian_package, npm_package, run_client
from kmcl_platform.errors import DataError, WeightsError

SVG = "<svg><dc:subject>{}</dc:subject><dc:subject><rdf:li>later</rdf:li></dc:subject></svg>"


def add_drawing(cache: Path, name: str, tags: list[str], pixels: Image.Image) -> None:
    """One picture in both unpacked packages of openclipart."""
    for kind, suffix in (("png", ".png"), ("svg", ".svg")):
        file = cache / f"openclipart-{kind}" / "usr" / "share" / "openclipart" / kind / (name + suffix)
        file.parent.mkdir(parents=True, exist_ok=True)
        if kind == "png":
            pixels.save(file)
        else:
            file.write_text(SVG.format("".join(f"<rdf:li>{tag}</rdf:li>" for tag in tags)))


def small_drawing(seed: int) -> Image.Image:
    """A blot on a page of 100 x 60 that is not white elsewhere: it is transparent."""
    page = Image.new("RGBA", (100, 60), (0, 0, 0, 0))
    blot = np.random.default_rng(seed).integers(0, 200, (20, 10, 3), dtype=np.uint8)
    page.paste(Image.fromarray(blot), (30, 20))
    return page


def test_openclipart_has_the_tags_of_all_copies_and_one_star_of_five(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    for seed in range(10):
        add_drawing(cache, f"a/{seed}", ["Home", "unsorted", "Sign" if seed == 9 else "mine"], small_drawing(seed))
        add_drawing(cache, f"stars/{seed}", ["magick", "star"], small_drawing(100 + seed))
    for seed in range(5):
        add_drawing(cache, f"b/{seed}", ["Signs", "house"], small_drawing(seed))
    assert run(openclipart.OPENCLIPART, [str(tmp_path), "--min-images", "6", "--size", "40"]) == 0
    assert "identical files 5, thinned series 8, without a class 2" in capsys.readouterr().out
    table = pd.read_csv(tmp_path / "labels.csv")
    assert list(table.columns) == ["image", "split", "house", "mine", "sign"]
    assert list(table["image"]) == [f"images/a_{seed}.jpg" for seed in range(10)]
    assert table["house"].tolist() == [1] * 10
    assert table["sign"].tolist() == [1] * 5 + [0] * 4 + [1]


def test_a_drawing_is_cut_out_of_its_page_and_fills_the_square(tmp_path: Path) -> None:
    small_drawing(0).save(tmp_path / "a.png")
    pixels = np.asarray(openclipart.draw_square(tmp_path / "a.png", 40).convert("L"))
    rows, columns = np.nonzero(pixels < 250)
    assert (rows.min(), rows.max()) == (0, 39)
    assert (columns.min(), columns.max()) == pytest.approx((10, 29), abs=1)


def test_tags_are_read_from_the_first_subject_only() -> None:
    assert openclipart.read_tags(SVG.format("<rdf:li> Ice \n Cream</rdf:li><rdf:li>R&amp;B</rdf:li>")) == {
        "ice_cream", "r&b",
    }  # fmt: skip
    assert openclipart.read_tags("<svg/>") == set()


RADKFILE = """# a comment
$ 一 1
丈三
$ 木 4
林
森
$ 汁 3 4653
汁淋
$ 口 3
口
"""


def test_the_components_of_a_kanji_are_those_of_two_strokes_and_more() -> None:
    assert kanji.read_components(RADKFILE + "$ 水 4\n淋\n") == {
        "丈": set(), "三": set(), "林": {"tree"}, "森": {"tree"}, "汁": {"water_left"}, "淋": {"water_left", "water"},
        "口": {"mouth"},
    }  # fmt: skip


def test_names_of_components_are_ascii_and_belong_to_one_component() -> None:
    names = map(kanji.component_name, [*kanji.NAMES, *"一木水世黒"])
    assert [name for name in names if not re.fullmatch(r"[a-z_]+|U\+[0-9A-F]{4}", name)] == []
    with pytest.raises(DataError, match=r"^radkfile: got the name 'sickness' for 疔 and 疒; valid: a name for each$"):
        kanji.read_components("$ 疔 5\n疲\n$ 疒 5\n病\n")


def test_words_of_a_flag_and_of_a_person() -> None:
    row = {"tags": "", "openmoji_tags": "", "group": "flags", "subgroups": "country-flag"}
    assert openmoji.read_words(row | {"annotation": "flag: Isle of Man"}) == {"flags", "country-flag"}
    row = {"tags": "man", "openmoji_tags": "", "group": "extras-unicode", "subgroups": "subdivision-flag"}
    assert openmoji.read_words(row | {"annotation": "Texas"}) == {"extras-unicode", "subdivision-flag", "flags"}


def test_openmoji_without_its_renderer_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(
        DataError, match=r"^resvg_py: got no module of this name; valid: pip install resvg-py==0\.5\.0$"
    ):
        openmoji.collect(tmp_path / "cache", 72, Counter())
    assert not (tmp_path / "cache").exists()


def test_only_the_wanted_files_of_an_npm_package_are_unpacked_and_once(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a-1.0.tgz", "w:gz") as archive:
        for name in ("package/data/a.csv", "package/data/b.csv", "package/other/a.csv", "../package/data/a.csv"):
            file = tarfile.TarInfo(name)
            file.size = 2
            archive.addfile(file, io.BytesIO(b"x\n"))
    folder = npm_package(tmp_path, "a", "1.0", ("data/a",))
    assert [str(path.relative_to(folder)) for path in folder.rglob("*.*")] == ["data/a.csv"]
    (tmp_path / "a-1.0.tgz").unlink()
    assert npm_package(tmp_path, "a", "1.0", ("data/a",)) == folder


def test_a_damaged_archive_is_one_line_and_leaves_no_folder(tmp_path: Path) -> None:
    (tmp_path / "a-1.0.tgz").write_bytes(b"not an archive")
    with pytest.raises(DataError, match=r"a-1\.0\.tgz: got .*; valid: delete the file, then try again$"):
        npm_package(tmp_path, "a", "1.0", ("data/",))
    assert not (tmp_path / "a-1.0").exists()
    (tmp_path / "a_1.deb").write_bytes(b"not a package")
    with pytest.raises(
        DataError, match=r"^dpkg-deb -x \S+a_1\.deb \S+: got .*; valid: delete \S+a_1\.deb, then try again$"
    ):
        debian_package(tmp_path, "a")
    assert not (tmp_path / "a").exists()


def test_a_client_that_is_missing_or_fails_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"^no-such-client get a --quiet: got 'No such file or directory'; valid: install it$"
    ):
        run_client(["no-such-client", "get", "a", "--quiet"], tmp_path, "install it")
    for printed, shown in (
        ("W: slow\nE: Unable to locate package a", "E: Unable to locate package a"),
        ("npm error code E404\nnpm error 404 Not Found\nnpm error A complete log is in: b", "npm error 404 Not Found"),
        ("first\nsecond", "second"),
        ("", "exit code 3"),
    ):
        (tmp_path / "printed").write_text(printed)
        with pytest.raises(DataError) as error:
            run_client(["sh", "-c", "cat printed >&2; exit 3"], tmp_path, "a network")
        assert str(error.value) == f"sh -c 'cat printed >&2; exit 3': got {shown!r}; valid: a network"


def test_a_kanji_is_black_in_the_middle_of_its_square() -> None:
    font = ImageFont.load_default(56)
    assert isinstance(font, ImageFont.FreeTypeFont)
    paper = np.asarray(kanji.draw(font, "H", 64))
    assert paper.shape == (64, 64)
    assert paper[0].min() == 255 and paper.min() == 0


@pytest.mark.parametrize(
    ("name", "shape", "problem"),
    [
        ("b.bias", (2, 3), r"got b\.bias of shape \(2, 3\); valid: the kind and shape of conv\.weight, \(2, 3\)"),
        ("b.weight", (3, 2), r"got b\.weight of shape \(3, 2\); valid: the kind and shape of conv\.weight, \(2, 3\)"),
    ],
)
def test_weights_of_another_network_are_refused(name: str, shape: tuple[int, ...], problem: str) -> None:
    with pytest.raises(WeightsError, match=problem):
        rename({name: torch.zeros(shape)}, {"conv.weight": torch.zeros(2, 3)})
    with pytest.raises(WeightsError, match="got 0 tensors; valid: 1"):
        rename({}, {"conv.weight": torch.zeros(2, 3)})
