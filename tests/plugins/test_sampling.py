"""Samplers and schedulers: the platform's own by name, and the example of docs/plugins.md."""

import pickle
import re
from pathlib import Path

import pytest
from optuna.trial import TrialState

from kmcl_platform.config.arms import to_yaml
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file, read_search_file
from kmcl_platform.errors import ConfigError, SearchError
from kmcl_platform.plugins import Sampler, Scheduler, list_components
from kmcl_platform.plugins.source import find_plugin, load_documents, to_documents
from kmcl_platform.search.forecast.costs import checkpoint_share
from kmcl_platform.search.run.checks.component_check import check_components
from kmcl_platform.search.sampling.rung_schedule import list_rungs
from kmcl_platform.search.study.definition import check_new_search
from kmcl_platform.search.study.ended_trials import judge_epoch
from kmcl_platform.search.study.study import DurableStudy
from tests.support.example import read_example

HEADING = "A sampler and a scheduler"
PLUGIN, LINES = read_example(HEADING, "python"), read_example(HEADING, "yaml")
REST = """
name: s
base: {num_epochs: 5, optim: {lr: 0.01}}
space:
  optim.lr: {kind: loguniform, low: 1e-4, high: 1e-1}
  loss.temperature: {kind: uniform, low: 0.1, high: 1}
budget: {trials: 10}
baselines: []
"""
SEARCH = LINES + REST


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A search file with the lines of the page, beside the plug-in."""
    (tmp_path / "my_sampling.py").write_text(PLUGIN)
    (tmp_path / "s.yaml").write_text(SEARCH)
    return tmp_path / "s.yaml"


def train(file: SearchFile, url: str, *, restarts: bool = False) -> list[tuple[object, ...]]:
    """Every trial of a search: its values, its end, its last epoch. The best one has the learning rate 0.01."""
    study = DurableStudy(url, file)
    while (point := study.next_point()) is not None:
        for epoch in range(1, 6):
            if restarts:
                study = DurableStudy(url, file)
                assert (again := study.next_point()) and again.config == point.config
            value = -abs(point.config.optim.lr - 0.01) * (1 + 1 / epoch)
            if end := judge_epoch(study, point, epoch, value, seconds=0, num_epochs=5):
                study.tell(point.number, end, value if end == "completed" else None)
                break
    return [(trial.params, trial.state, trial.last_step) for trial in study.counted()]


def test_the_platforms_own_names() -> None:
    assert list_components(Sampler, built_in=True) == ["gp", "grid", "nsga2", "qmc", "random", "tpe"]
    assert list_components(Scheduler, built_in=True) == ["adaptive", "hyperband", "none", "successive_halving"]


def test_the_example_draws_and_stops_and_goes_on_after_kills_as_if_there_were_none(file: Path, tmp_path: Path) -> None:
    search = read_search_file(file)
    check_components(search)
    check_new_search(search, f"sqlite:///{tmp_path}/new.db")
    undisturbed = train(search, f"sqlite:///{tmp_path}/a.db")
    assert train(search, f"sqlite:///{tmp_path}/b.db", restarts=True) == undisturbed
    stopped = [last for _, state, last in undisturbed if state == TrialState.PRUNED]
    assert stopped and set(stopped) <= {2, 3, 4}
    # With populations of 4, the genetic algorithm draws other points than random ones.
    other = read_search_file_with(file, LINES.replace("population: 4", "population: 50"))
    drawn = train(other, f"sqlite:///{tmp_path}/c.db")
    assert [values for values, *_ in drawn[:5]] == [values for values, *_ in undisturbed[:5]]
    assert drawn[5:] != undisturbed[5:]


def read_search_file_with(file: Path, lines: str) -> SearchFile:
    assert lines != LINES
    file.write_text(lines + REST)
    return read_search_file(file)


def test_options_are_part_of_the_definition(file: Path, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a.db"
    DurableStudy(url, read_search_file(file))
    DurableStudy(url, read_search_file(file))
    changed = read_search_file_with(file, LINES.replace("population: 4", "population: 5"))
    with pytest.raises(SearchError, match=r"was begun with sampler\.population = 4, the file now says 5; valid: "):
        DurableStudy(url, changed)


def test_a_file_with_them_can_be_written_read_and_sent(file: Path) -> None:
    search = read_search_file(file)
    tree = search.model_dump(mode="json")
    assert tree["sampler"] == {"kind": "genetic", "startup_trials": 10, "seed": 1, "population": 4}
    assert tree["scheduler"] == {"kind": "median", "first_epoch": 2}
    again = parse_search_file(to_yaml(search), "s.yaml", lambda name: find_plugin(name, file.parent))
    assert again == search and again.sampler == search.sampler
    load_documents(to_documents(search.base.plugins))
    assert pickle.loads(pickle.dumps(search)) == search


def test_the_plan_knows_where_trials_may_stop(file: Path) -> None:
    search = read_search_file(file)
    assert [rung.epoch for rung in list_rungs(search)] == [2, 3, 4]
    frozen = search.base.with_values({"model.backbone_mode": "frozen", "model.pretrained": True})
    assert checkpoint_share(search.model_copy(update={"base": frozen})) == 4 / 5
    assert search.scheduler.fewest_epochs(5, 3) == 5 + 2 * 2
    assert search.scheduler.expected_epochs(5, 3) == 15


def test_a_sampler_that_ignores_stopped_trials_needs_a_scheduler_that_stops_none(file: Path, tmp_path: Path) -> None:
    plugin = PLUGIN.replace("    population:", "    learns_from_stopped = False\n    population:")
    (file.parent / "my_sampling.py").write_text(plugin)
    url = f"sqlite:///{tmp_path}/a.db"
    with pytest.raises(
        ConfigError, match=r"^sampler\.kind: got genetic with scheduler\.kind median; valid: tpe, or scheduler: \{kind"
    ):
        check_new_search(read_search_file(file), url)
    check_new_search(read_search_file_with(file, LINES.replace("{kind: median, first_epoch: 2}", "{kind: none}")), url)


def test_a_scheduler_with_a_first_rung_has_the_default_and_the_check_of_ours(file: Path, tmp_path: Path) -> None:
    plugin = PLUGIN.replace("Sampler, Scheduler,", "RungScheduler, Sampler,").replace("(Scheduler)", "(RungScheduler)")
    (file.parent / "my_sampling.py").write_text(plugin)
    lines = LINES.replace(", first_epoch: 2}", "}")
    rest = REST.replace("lr: 0.01}", "lr: 0.01, warmup_fraction: 0.5}")
    file.write_text(lines + rest)
    assert read_search_file(file).scheduler.model_dump()["min_epochs"] == 3
    file.write_text(lines.replace("median}", "median, min_epochs: 6}") + rest)
    with pytest.raises(ConfigError, match=r"scheduler\.min_epochs: got 6; valid: at most base\.num_epochs, 5"):
        read_search_file(file)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("kind: genetic", "kind: genetik", r"sampler\.kind: got 'genetik'; valid: genetic, .*or the name in a plug-in"),
        ("kind: genetic", "kind: median", r"sampler\.kind: got 'median'; valid: "),
        ("kind: genetic", "kind: [tpe]", r"sampler\.kind: got \['tpe'\]; valid: genetic, gp, grid, nsga2, qmc, random, tpe$"),
        ("population: 4", "population: 1", r"sampler\.population: got 1; valid: a number of at least 2"),
        ("population: 4", "populations: 4", r"sampler\.populations: unknown name; valid: population, seed, startup_tr"),
        ("{kind: genetic, population: 4, seed: 1}", "genetic", r"sampler: got 'genetic'; valid: a mapping, such as \{"),
        ("kind: median, ", "", r"scheduler\.kind: missing; valid: adaptive, hyperband, median, none, successive_halving"),
        ("{kind: median, first_epoch: 2}", "{kind: none, x: 1}", r"scheduler\.x: unknown name; valid: no options$"),
        ("plugins: [my_sampling]\n", "", r"scheduler\.kind: got 'median'; valid: .*or the name in a plug-in that"),
    ],
)  # fmt: skip
def test_wrong_files(file: Path, before: str, after: str, message: str) -> None:
    assert before in SEARCH
    file.write_text(SEARCH.replace(before, after))
    with pytest.raises(ConfigError, match=f"^{re.escape(str(file))}: {message}") as caught:
        read_search_file(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("def build_sampler(", "def build(", r"register\('genetic'\): got a class without the method `build_sampler`; v"),
        ("def stopping_epochs(", "def stops(", r"register\('median'\): got a class without the method `stopping_epochs`"),
        ('"median"', '"none"', r"register\('none'\): got a scheduler that kmcl_platform\.components\..* has registered"),
        ("population: int = Field(default=6, ge=2)", "population: int", r"option population has no default; valid"),
        ("population: int", "kind: int", r"register\('genetic'\): got an option kind, a name that the platform uses; "),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:Field name:UserWarning")
def test_a_plugin_that_cannot_be_loaded_is_one_line(file: Path, before: str, after: str, message: str) -> None:
    assert before in PLUGIN
    (file.parent / "my_sampling.py").write_text(PLUGIN.replace(before, after))
    with pytest.raises(ConfigError, match=rf"plugins\.my_sampling: .*{message}") as caught:
        read_search_file(file)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("optuna.samplers.NSGAIISampler(", "dict(", r"sampler genetic: build_sampler: got \{.*\}; valid: a sampler of"),
        ("self.population", "self.size", r"sampler genetic raises AttributeError: .*; valid: no error"),
        ("optuna.pruners.MedianPruner(", "dict(", r"scheduler median: build_pruner: got \{.*; valid: a pruner of Optuna"),
        ("range(self.first_epoch, num_epochs)", "range(9)", r"scheduler median: stopping_epochs: got \[0, 1.*; valid: a"),
        ("list(range(self.first_epoch, num_epochs))", "None", r"stopping_epochs: got None; valid: a list of rising num"),
    ],
)  # fmt: skip
def test_wrong_code_is_found_before_anything_starts(file: Path, before: str, after: str, message: str) -> None:
    assert before in PLUGIN
    (file.parent / "my_sampling.py").write_text(PLUGIN.replace(before, after))
    with pytest.raises(ConfigError, match=rf"^plugins\.my_sampling: .*{message}") as caught:
        check_components(read_search_file(file))
    assert "\n" not in str(caught.value)
