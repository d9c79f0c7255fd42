"""Rounds of the chaos tests in random order, and a table of their outcomes."""

import random
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.chaos.disasters import NUM_EPOCHS, NUM_TRIALS, Search, Story, finish
from tests.support.mlflow_server import MlflowServer

_outcomes: dict[str, list[tuple[str, float]]] = defaultdict(list)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rounds", type=int, default=1, help="how often each test is run")
    parser.addoption("--order", type=int, default=None, help="seed of the order [default: a new one each time]")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if metafunc.definition.get_closest_marker("chaos"):
        metafunc.fixturenames.append("round_number")
        metafunc.parametrize("round_number", range(1, metafunc.config.getoption("--rounds") + 1), ids="round {}".format)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    seed = config.getoption("--order")
    if seed is None:
        seed = random.SystemRandom().randrange(10_000)
    chaos = [item for item in items if item.get_closest_marker("chaos")]
    shuffled = random.Random(seed).sample(chaos, len(chaos))
    items[:] = [item for item in items if item not in chaos] + shuffled
    config.stash[_seed_key] = seed


_seed_key = pytest.StashKey[int]()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if "integration/chaos/" in report.nodeid and (report.when == "call" or report.failed):
        name = report.nodeid.rpartition("::")[2].replace("round ", "")
        parts = [part for part in name.rstrip("]").replace("[", "-").split("-") if not part.isdigit()]
        _outcomes[" ".join(parts)].append((report.outcome, report.duration))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if not _outcomes:
        return
    terminalreporter.section(f"chaos, in the order of --order {config.stash[_seed_key]}")
    width = max(map(len, _outcomes))
    for name, outcomes in sorted(_outcomes.items()):
        passed = sum(outcome == "passed" for outcome, _ in outcomes)
        median = statistics.median(seconds for _, seconds in outcomes)
        terminalreporter.write_line(f"{name:<{width}}   {passed} of {len(outcomes)} passed   median {median:.0f} s")


@pytest.fixture
def search(small_search: Callable[..., Path], small_manifest: Path, tmp_path: Path) -> Search:
    file = small_search(tmp_path, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS)
    return Search(tmp_path, file, tmp_path / "store")


@pytest.fixture(scope="session")
def undisturbed(
    small_search: Callable[..., Path], small_manifest: Path, tmp_path_factory: pytest.TempPathFactory
) -> Story:
    folder = tmp_path_factory.mktemp("undisturbed")
    file = small_search(folder, small_manifest, epochs=NUM_EPOCHS, trials=NUM_TRIALS)
    one = Search(folder, file, folder / "store")
    finish(one, one.start())
    one.check(one.story(), one.look())
    return one.story()


@pytest.fixture
def server(new_mlflow_server: Callable[[], MlflowServer]) -> Iterator[MlflowServer]:
    server = new_mlflow_server()
    try:
        yield server
    finally:
        server.kill()
