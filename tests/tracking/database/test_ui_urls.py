"""Links into MLflow's UI."""

from urllib.parse import parse_qs, urlsplit

import pytest

from kmcl_platform.tracking.database.ui_urls import model_url, run_table_url


@pytest.mark.parametrize(("mode", "ascending"), [("maximize", "false"), ("minimize", "true")])
def test_the_best_trial_comes_first(mode: str, ascending: str) -> None:
    url = urlsplit(run_table_url("http://127.0.0.1:5000/", "7", "val/mAP", mode))
    path, _, query = url.fragment.partition("?")
    assert (url.netloc, path) == ("127.0.0.1:5000", "/experiments/7/runs")
    values = parse_qs(query)
    assert values["orderByKey"] == ["metrics.`val/mAP`"]
    assert values["orderByAsc"] == [ascending]
    assert values["workflowType"] == ["machine_learning"]


def test_a_name_is_quoted() -> None:
    assert "/#/models/a%20b?" in model_url("http://127.0.0.1:5000", "a b")
