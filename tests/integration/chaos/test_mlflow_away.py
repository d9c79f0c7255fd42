"""The MLflow server is away for a minute, or for good: the search continues, and its record is completed later."""

import time

import pytest

from tests.integration.chaos.disasters import Search, Story, check_one_line, finish, wait_for_end
from tests.support.mlflow_server import MlflowServer
from tests.support.processes import kill_family

pytestmark = pytest.mark.chaos


def test_the_mlflow_server_is_away_for_a_minute(search: Search, server: MlflowServer, undisturbed: Story) -> None:
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
    search: Search, server: MlflowServer, undisturbed: Story
) -> None:
    search.tracking_uri = server.address
    # MLflow tries for a minute instead of four.
    search.environment["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "5"
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    server.kill()
    # All trials are trained; only their record is missing.
    code = wait_for_end(search, process, 300)
    check_one_line(search, code, f"kmcl: {server.address}: .+ answer.*; valid: start it, then the same command .+")
    assert search.story() == undisturbed
    code = wait_for_end(search, search.start(), 60)
    check_one_line(search, code, f"kmcl: {server.address}: no MLflow server answers: .+; valid: .+")
    before = search.look()
    server.start()
    finish(search, search.start())
    search.check(undisturbed, before)


def test_the_machine_dies_while_the_mlflow_server_is_away(
    search: Search, server: MlflowServer, undisturbed: Story
) -> None:
    search.tracking_uri = server.address
    process = search.start()
    search.wait_for_epoch(process, epoch=3)
    server.kill()
    search.wait_for_trial(process, 1)
    kill_family(process)
    before = search.look()
    assert list(before.written) == [0]
    server.start()
    finish(search, search.start())
    search.check(undisturbed, before)
