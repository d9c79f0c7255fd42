"""Names of classes in pictures: none becomes a formula, has a missing character, or leaves no room for the picture."""

import warnings

import numpy as np
import pytest
from matplotlib import rc_context
from matplotlib.font_manager import FontEntry, fontManager

from kmcl_platform.data.builtin.digits import build_digits
from kmcl_platform.data.scores_file import SplitScores
from kmcl_platform.tracking.figures import picture_names
from kmcl_platform.tracking.figures.classes import measure_classes
from kmcl_platform.tracking.figures.curves import draw_classes, draw_cooccurrence, draw_precision_recall
from kmcl_platform.tracking.figures.mistakes import draw_mistakes, find_mistakes
from kmcl_platform.tracking.figures.picture_names import find_fonts, to_picture_names

NAMES = ["price $5 and $x^{$", r"\$", "猫と犬", "a" * 5000, "_hidden", "new\nline", "\ud800", "", "$", "plain"]


@pytest.fixture
def _only_default_fonts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hide all other fonts: the machine may have Chinese ones."""
    monkeypatch.setattr(fontManager, "ttflist", [font for font in fontManager.ttflist if "DejaVu" in font.name])


@pytest.mark.usefixtures("_only_default_fonts")
def test_names_that_cannot_be_drawn_are_changed() -> None:
    assert to_picture_names(NAMES) == [
        r"price \$5 and \$x^{\$", r"\\$", "2: □□□", f"3: {'a' * 31}…", "_hidden", "5: new line", "6: □", "", r"\$",
        "plain",
    ]  # fmt: skip


def test_a_wide_letter_counts_as_two(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_names, "_choose_fonts", lambda text: (["DejaVu Sans"], set()))
    assert to_picture_names(["猫" * 16, "猫" * 17]) == ["猫" * 16, f"1: {'猫' * 15}…"]


def test_another_font_of_the_machine_is_used_where_it_has_the_letter() -> None:
    """U+1D4D0 is in STIX and not in DejaVu Sans, like a Chinese letter on a machine with a Chinese font."""
    assert to_picture_names(["\U0001d4d0"]) == ["\U0001d4d0"]
    families = find_fonts(["\U0001d4d0"])
    assert families[0] == "DejaVu Sans" and len(families) == 2


def test_a_font_that_cannot_be_read_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = FontEntry(fname="/dev/null", name="Broken", style="normal", variant="normal", weight=400, size="scalable")
    monkeypatch.setattr(fontManager, "ttflist", [broken])
    assert find_fonts(["猫"]) == ["DejaVu Sans"]


def test_every_picture_shows_every_name_without_a_warning() -> None:
    rng = np.random.default_rng(0)
    own = SplitScores(rng.random((40, 10), dtype=np.float32), rng.integers(0, 2, (40, 10)).astype(np.int8))
    manifest, results = build_digits(num_train=4, num_val=40, num_test=4), measure_classes(own, None)
    names = to_picture_names(NAMES)
    with warnings.catch_warnings(), rc_context({"font.family": find_fonts(names)}):
        warnings.simplefilter("error")
        figures = [
            draw_precision_recall(own, names, results, "trial 1"),
            draw_classes(names, results, "trial 1"),
            draw_cooccurrence(own, names, "trial 1"),
            draw_mistakes(manifest, find_mistakes(own), names, "trial 1"),
        ]
        for figure in figures:
            figure.canvas.draw()
    legend = [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()]
    assert len(legend) == 10 and any(text.endswith("_hidden") for text in legend)
