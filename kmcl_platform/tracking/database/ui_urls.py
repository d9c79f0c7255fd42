"""Addresses inside MLflow's UI that show something at once.

Every link carries `workflowType=machine_learning`: a fresh browser lands on the pages for language models without it.
"""

from urllib.parse import quote, urlencode

_WORKFLOW = {"workflowType": "machine_learning"}


def run_table_url(ui: str, experiment_id: str, metric: str, mode: str) -> str:
    """A search's trials and their charts, the best first.

    Sorted by a metric, because sorted by creation the page shows one folded line and empty charts.

    Args:
        ui: base address of the UI.
        experiment_id: the search's experiment.
        metric: the objective's metric.
        mode: `maximize` or `minimize`.
    """
    query = _WORKFLOW | {
        "compareRunsMode": "CHART",
        "orderByKey": f"metrics.`{metric}`",
        "orderByAsc": str(mode == "minimize").lower(),
    }
    return f"{ui.rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(query, quote_via=quote)}"


def model_url(ui: str, name: str) -> str:
    """A registered model with its versions and aliases."""
    return f"{ui.rstrip('/')}/#/models/{quote(name)}?{urlencode(_WORKFLOW)}"
