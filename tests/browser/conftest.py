"""A search and its champion in MLflow's UI, and a headless Chromium that opens its pages."""

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.support.command_line import kmcl, start_kmcl
from tests.support.finished_search import FinishedSearch
from tests.support.store_copy import copy_store
from tests.support.waiting import answers, free_port, wait_until

SECONDS = 60
expect.set_options(timeout=SECONDS * 1000)
WIDTH, HEIGHT = 1500, 950


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", type=Path, help="look at this store, of `make demo`, instead of a small one")
    parser.addoption("--screenshots", type=Path, help="write screenshots into this folder, for the README")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished search and its champion."""
    if given := request.config.getoption("--store", None):
        return Path(given)
    finished: FinishedSearch = request.getfixturevalue("finished")
    folder = tmp_path_factory.mktemp("browser") / "store"
    copy_store(finished.store, folder)
    promoted = kmcl("promote", "small", store=folder)
    assert promoted.exit_code == 0, promoted.output
    return folder


@dataclass(frozen=True)
class Ui:
    """The address of MLflow's UI, and the links that `kmcl ui` prints.

    Attributes:
        base: its address.
        search: the page of the search's trials.
        report: the page of the search's report.
        model: the page of the registered model.
    """

    base: str
    search: str
    report: str
    model: str


@pytest.fixture(scope="session")
def ui(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`kmcl ui` on the store."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    output = tmp_path_factory.mktemp("ui") / "output.txt"
    server = start_kmcl("ui", "--port", port, log=output, store=store)
    try:
        wait_until(lambda: answers(f"{base}/health"), seconds=SECONDS, process=server, log=output)
        links = dict(re.findall(r"^ +(search|its report|model)[^:]*: (\S+)$", output.read_text(), re.MULTILINE))
        yield Ui(base, links["search"], links["its report"], links["model"])
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "chromium: not found; valid: Debian's package chromium is installed"
    return found


class Looker:
    """A page of the browser, and the errors of the scripts in it."""

    def __init__(self, page: Page, screenshots: Path | None) -> None:
        self.page = page
        self.errors: list[str] = []
        self._screenshots = screenshots
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def picture(self, name: str, part: str = "") -> None:
        """Write a screenshot for the README, without MLflow's assistant, if the option --screenshots was given."""
        if self._screenshots:
            if (close := self.page.get_by_role("button", name="Close", exact=True)).count():
                close.first.click()
                self.page.wait_for_timeout(2000)
            # Of the frame alone where MLflow shows the path of a file above it.
            seen = self.page.locator(part).first if part else self.page
            seen.screenshot(path=self._screenshots / f"{name}.png")


@pytest.fixture
def looker(chromium: str, request: pytest.FixtureRequest) -> Iterator[Looker]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT})
        page.set_default_timeout(SECONDS * 1000)
        yield Looker(page, request.config.getoption("--screenshots", None))
        browser.close()
