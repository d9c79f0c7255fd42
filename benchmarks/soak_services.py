"""What `benchmarks.soak` measures beside the driver, and the servers that it can use."""

import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from kmcl_platform.config.store import Store
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.report.page import REPORT_FILE
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard

WRITES = (
    "create_run", "log_batch", "log_metric", "log_param", "set_tag", "set_terminated", "log_text", "log_artifact",
)  # fmt: skip


class Services(NamedTuple):
    """The addresses of a store; None: SQLite in its folder."""

    tracking_uri: str | None = None
    study_url: str | None = None


@contextmanager
def postgres_services(work: Path) -> Iterator[Services]:
    """A PostgreSQL server, and an MLflow server that uses it, until the block ends."""
    from tests.support.mlflow_server import MlflowServer
    from tests.support.postgres import Postgres

    # PostgreSQL does not run as root, and its own user may not be able to read the folder of the work.
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    database = Postgres(_made(folder / "postgres"))
    try:
        for name in ("mlflow", "studies"):
            database.execute(f"create database {name}")
        # One process, as `deploy/head_services.sh` has it: uvicorn answers 40 ms later with several.
        server = MlflowServer(_made(work / "mlflow"), database.url("mlflow"))
        server.start()
        try:
            yield Services(server.address, database.url("studies"))
        finally:
            server.kill()
    finally:
        database.stop()
        shutil.rmtree(folder)


def count_requests() -> Counter[str]:
    """Count from now on the calls of this process that write to MLflow, by their names."""
    from mlflow import MlflowClient

    counts: Counter[str] = Counter()

    def counted(name: str) -> Any:
        method = getattr(MlflowClient, name)

        def call(*arguments: Any, **options: Any) -> Any:
            counts[name] += 1
            return method(*arguments, **options)

        return call

    for name in (
        "create_run",
        "log_batch",
        "log_metric",
        "log_param",
        "set_tag",
        "set_terminated",
        "log_text",
        "log_artifact",
    ):
        setattr(MlflowClient, name, counted(name))
    return counts


def seconds_to_draw(store: Store, name: str, work: Path) -> float | None:
    """How long a headless Chromium takes for the first figure of the report; None: there is none."""
    program = shutil.which("chromium")
    if program is None:
        return None
    from playwright.sync_api import sync_playwright

    page = connect(store).download_artifacts(read_leaderboard(store, name).parent_id, REPORT_FILE, str(work))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        tab = browser.new_page()
        started = time.monotonic()
        tab.goto(Path(page).absolute().as_uri())
        tab.locator(".js-plotly-plot .main-svg").first.wait_for(timeout=120_000)
        taken = time.monotonic() - started
        browser.close()
    return taken


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
