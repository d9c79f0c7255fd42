"""Addresses of pages in MLflow's UI.

Every link has `workflowType=machine_learning`: without it, a new browser shows the pages for language models.
"""

from urllib.parse import quote, urlencode

_WORKFLOW = {"workflowType": "machine_learning"}


def run_table_url(ui: str, experiment_id: str, metric: str, mode: str) -> str:
    """The page with a search's trials and their charts, the best trial first.

    It is sorted by a metric: sorted by time of creation, the page shows one folded row and empty charts.

    Args:
        ui: base address of the UI.
        experiment_id: the search's experiment.
        metric: the objective's metric.
        mode: `maximize` or `minimize`.
    """
    # The page's script reads what follows `#`; MLflow's server never sees it.
    query = _WORKFLOW | {
        "compareRunsMode": "CHART",
        # In backticks, because names of metrics have a slash.
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": str(mode == "minimize").lower(),
    }
    return f"{ui.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def report_url(ui: str, experiment_id: str, run_id: str) -> str:
    """The page of the run of a search that shows its report."""
    place = f"experiments/{experiment_id}/runs/{run_id}/artifacts/report/report.html"
    return f"{ui.rstrip('/')}/#/{place}?{urlencode(_WORKFLOW)}"


def model_url(ui: str, name: str) -> str:
    """The page of a registered model, with its versions and aliases."""
    return f"{ui.rstrip('/')}/#/models/{quote(name)}?{urlencode(_WORKFLOW)}"
