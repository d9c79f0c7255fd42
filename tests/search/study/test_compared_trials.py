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
