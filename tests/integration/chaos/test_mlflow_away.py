"""The MLflow server is away: for a minute, which goes unnoticed, or until the search is started again."""

import time

import pytest

from tests.integration.chaos.disasters import Search, Server, Story, check_one_line, finish, wait_for_end

pytestmark = pytest.mark.chaos


def test_the_mlflow_server_is_away_for_a_minute(search: Search, server: Server, undisturbed: Story) -> None:
    search.tracking_uri = server.address
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    server.kill()
    before = search.look()
    time.sleep(60)
    server.start()
    finish(search, process)
    search.check(undisturbed, before)


def test_the_mlflow_server_is_away_until_the_search_is_started_again(
    search: Search, server: Server, undisturbed: Story
) -> None:
    search.tracking_uri = server.address
    # MLflow tries for a minute instead of four.
    search.environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "5"
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    server.kill()
    code = wait_for_end(search, process, 240)
    check_one_line(search, code, f"kmcl: {server.address}: the MLflow server does not answer any more: .+; valid: .+")
    code = wait_for_end(search, search.start(), 60)
    check_one_line(search, code, f"kmcl: {server.address}: no MLflow server answers: .+; valid: .+")
    before = search.look()
    server.start()
    finish(search, search.start())
    search.check(undisturbed, before)
