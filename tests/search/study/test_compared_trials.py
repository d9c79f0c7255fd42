"""The result of a search from its study: best trial, best baseline, and the baselines without a value."""

from pathlib import Path

from kmcl_platform.search.study.compared_trials import compare_with_baselines
from kmcl_platform.search.study.study import DurableStudy
from tests.search.study.small_study import FILE, search_file

BASELINES = "baselines: [{name: bce, values: {loss.objective: bce}}]\n"


def test_a_baseline_that_diverged_is_named(tmp_path: Path) -> None:
    file = search_file(FILE.replace("budget", f"{BASELINES}budget"))
    study = DurableStudy(f"sqlite:///{tmp_path}/study.db", file)
    assert [study.next_point().baseline for _ in range(2)] == ["kmcl", "bce"]  # type: ignore[union-attr]
    study.tell(1, "diverged")
    assert compare_with_baselines(study) is None
    for epoch in range(1, 5):
        study.report(0, epoch, 0.5)
    study.tell(0, "completed", 0.5)
    assert str(compare_with_baselines(study)).endswith(
        "best baseline: kmcl (trial 0), val/mAP 0.5000; without a value: bce"
    )


def test_the_best_baseline_is_found_behind_better_trials(tmp_path: Path) -> None:
    always_kmcl = FILE.replace("choices: [kmcl, bce]", "choices: [kmcl]").replace("budget", f"{BASELINES}budget")
    study = DurableStudy(f"sqlite:///{tmp_path}/study.db", search_file(always_kmcl))
    for number, value in enumerate([0.2, 0.3, 0.5, 0.7]):
        assert study.next_point() is not None
        for epoch in range(1, 5):
            study.report(number, epoch, value)
        study.tell(number, "completed", value)
    found = compare_with_baselines(study)
    assert found is not None and found.best is not None
    assert (found.best.number, found.baseline.number, found.baseline.baseline) == (3, 1, "bce")
