"""The statistics of a manifest's labels, and the page that shows them."""

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from kmcl_platform.data.manifest.manifest import Manifest, build_manifest
from kmcl_platform.data.report.charts import percent
from kmcl_platform.data.report.cooccurrence import count_cooccurrence, order_by_similarity
from kmcl_platform.data.report.matrix import MAX_CLASSES, shown_classes
from kmcl_platform.data.report.page import to_html, write_page
from kmcl_platform.data.report.statistics import describe
from kmcl_platform.errors import DataError


def manifest_of(targets_NK: np.ndarray, splits: list[str], class_names: tuple[str, ...] | None = None) -> Manifest:
    return build_manifest(
        name="made",
        version="7",
        class_names=class_names or tuple(f"class{k}" for k in range(targets_NK.shape[1])),
        splits=splits,
        images=[f"{row}.png" for row in range(len(splits))],
        targets=targets_NK,
    )


def drawn(seed: int, *, images: int = 400, classes: int = 6, unknown: float = 0.2) -> np.ndarray:
    """Random targets, some of them unknown. The first two classes depend on each other."""
    generator = np.random.default_rng(seed)
    targets_NK = (generator.random((images, classes)) < 0.3).astype(np.int8)
    targets_NK[:, 1] |= targets_NK[:, 0] & (generator.random(images) < 0.7)
    targets_NK[generator.random((images, classes)) < unknown] = -1
    return targets_NK


@pytest.mark.parametrize("unknown", [0.0, 0.2])
def test_pairs_are_those_of_a_loop_over_images(unknown: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kmcl_platform.data.report.cooccurrence._ROWS", 64)  # several blocks
    targets_NK = drawn(0, unknown=unknown)
    counted = count_cooccurrence(targets_NK)
    for a in range(6):
        for b in range(6):
            pairs = [(x, y) for x, y in targets_NK[:, [a, b]].tolist() if x >= 0 and y >= 0]
            n, n_a, n_b = len(pairs), sum(x for x, _ in pairs), sum(y for _, y in pairs)
            both = sum(x * y for x, y in pairs)
            assert counted.known_KK[a, b] == n
            assert counted.positive_KK[a, b] == n_a
            assert counted.both_KK[a, b] == both
            assert counted.lift_KK()[a, b] == pytest.approx((both / n) / ((n_a / n) * (n_b / n)))
            cells = [x * y / n for x in (n_a, n - n_a) for y in (n_b, n - n_b)]
            assert counted.smallest_expected_KK()[a, b] == pytest.approx(min(cells))
            known = np.array(pairs)
            assert counted.correlation_KK()[a, b] == pytest.approx(np.corrcoef(known[:, 0], known[:, 1])[0, 1])


def test_the_squared_deviation_is_pearsons_chi_square() -> None:
    from scipy.stats import chi2_contingency

    targets_NK = drawn(1)
    deviation_KK = count_cooccurrence(targets_NK).deviation_KK()
    for a, b in ((0, 1), (2, 5)):
        known = targets_NK[(targets_NK[:, [a, b]] >= 0).all(axis=1)][:, [a, b]]
        cells = np.array([[((known == (x, y)).all(axis=1)).sum() for y in (0, 1)] for x in (0, 1)])
        assert deviation_KK[a, b] ** 2 == pytest.approx(chi2_contingency(cells, correction=False).statistic)


def test_a_pair_without_positives_has_no_lift() -> None:
    counted = count_cooccurrence(np.array([[1, 0, -1], [0, 0, 1], [1, 0, -1]], dtype=np.int8))
    assert np.isnan(counted.lift_KK()[0, 1])  # class 1 is never positive
    assert counted.known_KK[0, 2] == 1
    assert np.isnan(counted.lift_KK()[0, 2])  # class 0 is not positive where class 2 is known
    assert counted.deviation_KK()[0, 1] == counted.correlation_KK()[0, 2] == 0


def test_similar_classes_are_next_to_each_other() -> None:
    similarity_KK = np.full((5, 5), -0.1)
    for a, b in ((0, 3), (1, 4)):
        similarity_KK[a, b] = similarity_KK[b, a] = 0.9
    similarity_KK[3, 4] = similarity_KK[4, 3] = 0.5
    order = order_by_similarity(similarity_KK)
    assert sorted(order) == [0, 1, 2, 3, 4]
    assert {"0341", "1430"} & {"".join(map(str, order))[start : start + 4] for start in (0, 1)}
    assert order_by_similarity(np.ones((1, 1))) == [0]


def test_the_statistics_of_a_split_are_right() -> None:
    targets = [[1, 1, 0], [1, -1, 0], [1, 0, 0], [0, 0, 0], [0, 1, -1], [1, 0, 1]]
    splits = ["train"] * 4 + ["val", "test"]
    found = describe(manifest_of(np.array(targets, dtype=np.int8), splits))
    train = found.splits["train"]
    assert (train.known, train.positives, train.images_by_labels) == ((4, 3, 4), (3, 1, 0), (1, 2, 1))
    assert (train.share(0), train.share(1), train.share(2)) == (0.75, 1 / 3, 0.0)
    assert train.imbalance() == 3.0
    assert train.missing() == (2,)
    assert found.splits["val"].share(2) is None
    assert found.summaries["all"].unknown_labels == 2


def test_the_sealed_split_does_not_enter_the_pairs() -> None:
    targets_NK = drawn(2)
    splits = ["train"] * 200 + ["val"] * 100 + ["test"] * 100
    found = describe(manifest_of(targets_NK, splits)).cooccurrence
    assert (found.both_KK == count_cooccurrence(targets_NK[:300]).both_KK).all()


def test_only_significant_dependencies_are_reported() -> None:
    splits = ["train"] * 300 + ["val"] * 100
    found = describe(manifest_of(drawn(3), splits))
    assert [(pair.first, pair.second) for pair in found.together] == [(0, 1)]
    assert found.together[0].lift > 1.3
    assert found.apart == ()


def test_a_dependency_of_one_image_is_not_reported() -> None:
    targets_NK = np.zeros((400, 2), dtype=np.int8)
    targets_NK[0] = 1  # never one without the other: 20 standard deviations, and lift 400
    assert describe(manifest_of(targets_NK, ["train"] * 400)).together == ()


def test_classes_that_exclude_each_other_are_reported() -> None:
    first = np.arange(400) % 2
    found = describe(manifest_of(np.stack([first, 1 - first], axis=1).astype(np.int8), ["train"] * 400))
    assert [(pair.both, pair.expected, pair.lift) for pair in found.apart] == [(0, 100.0, 0.0)]
    assert found.apart[0].deviation == pytest.approx(-20)  # phi is -1, and 400 images


def test_independent_classes_are_seldom_reported() -> None:
    reported = 0
    for seed in range(60):
        targets_NK = (np.random.default_rng(seed).random((600, 8)) < 0.3).astype(np.int8)
        found = describe(manifest_of(targets_NK, ["train"] * 300 + ["val"] * 300))
        reported += bool(found.together or found.apart)
    assert reported <= 9  # 3 of 60 are expected, more than 9 have a probability of 0.0005


def test_drift_is_the_test_of_two_proportions() -> None:
    train, val = np.zeros((1000, 2), dtype=np.int8), np.zeros((500, 2), dtype=np.int8)
    train[:100, 0], val[:100, 0] = 1, 1  # 10 % to 20 %
    train[:300, 1], val[:155, 1] = 1, 1  # 30 % to 31 %
    found = describe(manifest_of(np.concatenate([train, val]), ["train"] * 1000 + ["val"] * 500)).drifts
    assert [(drift.index, drift.significant) for drift in found] == [(0, True), (1, False)]
    pooled = 200 / 1500
    assert found[0].deviation == pytest.approx(0.1 / (pooled * (1 - pooled) * (1 / 1000 + 1 / 500)) ** 0.5)
    assert (found[0].train, found[0].val) == (0.1, 0.2)
    assert describe(manifest_of(train, ["train"] * 1000)).drifts == ()


class Page(HTMLParser):
    """Collects the text of a page, its tags, and its references to other files."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.text = ""
        self.outside: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.outside += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href", "data")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_well_formed_and_needs_no_other_file() -> None:
    names = ("<script>alert(1)</script>", 'a "quoted" & name', "class2", "class3", "class4", "class5")
    html = to_html(manifest_of(drawn(4), ["train"] * 200 + ["val"] * 100 + ["test"] * 100, names))
    page = Page(html)
    assert page.open == []
    assert page.outside == []
    assert not re.search(r"https?://|@import|url\(", html)
    assert "script" not in page.tags
    assert names[0] in page.text and names[1] in page.text
    for heading in ("Class imbalance", "Labels per image", "Which classes go together", "Drift from train to val"):
        assert heading in page.text
    assert len(re.findall(r'<rect [^>]*class="(?:[mpz]\d?|none|self)"><title>', html)) == 36


def test_the_page_shows_counts_and_flags() -> None:
    targets = [[1, 1], [1, 0], [0, 1], [1, 0], [1, 0]]
    manifest = manifest_of(np.array(targets, dtype=np.int8), ["train"] * 3 + ["val", "test"], ("cat", "dog"))
    page = Page(to_html(manifest))
    assert manifest.content_hash in page.text
    assert "version 7" in page.text
    assert "cat: 3 of 4 images" in page.text
    assert "cat + dog: together on 1 of 4 images; 1.5 by chance; lift 0.67" in page.text
    assert "too few images" in page.text
    assert "none in val" in page.text
    assert "No positive label in val: dog." in page.text
    assert "train: 1 of 3 images (33.3 %) have 2 labels" in page.text


@pytest.mark.parametrize("splits", [["train", "train"], ["test", "test"], ["val", "test"]])
def test_a_page_of_two_images_is_well_formed(splits: list[str]) -> None:
    for targets in ([[0], [0]], [[-1], [-1]], [[1], [-1]]):
        assert Page(to_html(manifest_of(np.array(targets, dtype=np.int8), splits))).open == []


def test_the_matrix_of_many_classes_shows_the_most_frequent() -> None:
    num_classes = MAX_CLASSES + 20
    targets_NK = (np.random.default_rng(0).random((300, num_classes)) < 0.5).astype(np.int8)
    targets_NK[:, 20:40] = 0
    targets_NK[0, 20:40] = 1
    found = describe(manifest_of(targets_NK, ["train"] * 300))
    assert sorted(shown_classes(found.cooccurrence)) == [*range(20), *range(40, num_classes)]


def test_percentages_are_rounded() -> None:
    assert [percent(share) for share in (0, 0.00001, 0.0038, 0.0381, 1)] == [
        "0 %",
        "< 0.01 %",
        "0.38 %",
        "3.8 %",
        "100.0 %",
    ]


def test_a_page_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"page\.html: cannot be written: .*; valid: a path in a writable folder"):
        write_page(manifest_of(drawn(5), ["train"] * 400), tmp_path / "file" / "page.html")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
