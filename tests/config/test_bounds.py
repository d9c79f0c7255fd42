"""Values of a search file that are out of any use are refused when it is read, with the field that they have in the file."""

import pytest

from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.errors import ConfigError

FILE = """
name: s
base: {num_epochs: 3}
space:
  model.reduced_dim: {kind: int, low: 8, high: 512, log: true}
budget: {trials: 3}
resources: {price_per_hour: 2.5}
"""


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("2.5", "5.0e-324", "resources.price_per_hour: got 5e-324; valid: a number of at least 1e-09"),
        ("2.5", "1.0e+308", "resources.price_per_hour: got 1e+308; valid: a number of at most 1e+09"),
        ("trials: 3", f"trials: 3, checkpoints: 1{'0' * 400}", "budget.checkpoints: got 1000"),
        ("low: 8", "low: -1", "space.model.reduced_dim.low: got -1; valid: a whole number of at least 1, because log"),
        ("name: s", "name: s\nobjectives: [null, null]", "objectives.0: got None; valid: a mapping"),
        ("name: s", "name: s\nobjectives: [{metric: val/mAB}, {metric: gflops}]", "objectives.0.metric: got 'val/mAB'"),
    ],
)
def test_it_is_refused_in_one_line(old: str, new: str, line: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_search_file(FILE.replace(old, new, 1).encode(), "s.yaml")
    assert str(raised.value).startswith(f"s.yaml: {line}")
    assert "\n" not in str(raised.value)


def test_the_middle_of_a_logarithmic_range_is_its_geometric_mean() -> None:
    file = parse_search_file(FILE.encode(), "s.yaml")
    assert file.space["model.reduced_dim"].edges() == [8, 512, 64]
    file = parse_search_file(FILE.replace(", log: true", "").encode(), "s.yaml")
    assert file.space["model.reduced_dim"].edges() == [8, 512, 260]
