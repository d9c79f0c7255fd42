"""A search and its champion in MLflow's UI, and a headless Chromium that looks at it."""

import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.conftest import write_small_search

SECONDS = 60
expect.set_options(timeout=SECONDS * 1000)
WIDTH, HEIGHT = 1500, 950


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--store", type=Path, help="look at this store, of `make demo`, instead of a small one")
    parser.addoption("--screenshots", type=Path, help="write what is seen into this folder, for the README")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def kmcl(*words: str | Path) -> str:
    command = [sys.executable, "-m", "kmcl_platform.cli", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="session")
def store(request: pytest.FixtureRequest, small_manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a finished search and its champion."""
    if given := request.config.getoption("--store", None):
        return Path(given)
    folder = tmp_path_factory.mktemp("browser")
    kmcl("search", write_small_search(folder, small_manifest, epochs=2, trials=3), "--store", folder / "store")
    kmcl("promote", "small", "--store", folder / "store")
    return folder / "store"


@dataclass(frozen=True)
class Ui:
    """Where MLflow's UI is, and the links that `kmcl ui` prints.

    Attributes:
        base: its address.
        search: the page of the search's trials.
        model: the page of the registered model.
    """

    base: str
    search: str
    model: str


@pytest.fixture(scope="session")
def ui(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ui]:
    """`kmcl ui` on the store."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    base = f"http://127.0.0.1:{port}"
    output = tmp_path_factory.mktemp("ui") / "output.txt"
    command = [sys.executable, "-m", "kmcl_platform.cli", "ui", "--port", str(port), "--store", str(store)]
    with output.open("w") as file:
        server = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + SECONDS
        while not answers(f"{base}/health"):
            assert time.monotonic() < deadline and server.poll() is None, output.read_text()
            time.sleep(0.3)
        links = dict(re.findall(r"^  (search|model) \S+: (\S+)$", output.read_text(), re.MULTILINE))
        yield Ui(base, links["search"], links["model"])
    finally:
        server.terminate()
        server.wait(30)


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=5):
            return True
    except (URLError, OSError):
        return False


@pytest.fixture(scope="session")
def chromium() -> str:
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    assert found, "chromium: not found; valid: Debian's package chromium is installed"
    return found


class Looker:
    """A page of the browser, which hears every error of the scripts in it."""

    def __init__(self, page: Page, screenshots: Path | None) -> None:
        self.page = page
        self.errors: list[str] = []
        self._screenshots = screenshots
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def picture(self, name: str, part: str = "") -> None:
        """Keep what is seen, without MLflow's assistant beside it, where the README's pictures are wanted."""
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
