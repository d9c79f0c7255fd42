"""The command line that all datasets of this folder share: arguments, a second run, the printed summary."""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from benchmarks.datasets.table import Picture, summarize, write_dataset
from kmcl_platform.errors import ConfigError, KmclError
from kmcl_platform.files.atomic_write import atomic_file
from kmcl_platform.messages import shell_command, show_value

Collect = Callable[[Path, int, Counter[str]], list[Picture]]
"""Makes the pictures: from the cache folder, the size in pixels, and the counter of what is left out."""


@dataclass(frozen=True)
class Dataset:
    """One dataset that a module of this folder builds.

    Attributes:
        name: of the manifest in the next command.
        text: the module's docstring, which --help shows.
        source: packages and licenses, as summary.json repeats them.
        size: width and height of the pictures by default, in pixels.
        min_images: number of pictures that a class needs by default.
        suffix: of the pictures' files.
        collect: makes the pictures.
        version: of the output. It is raised when the output changes; an older dataset is then built again.
    """

    name: str
    text: str
    source: str
    size: int
    min_images: int
    suffix: str
    collect: Collect
    version: int = 1


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line: argparse prints the usage before them."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def run(dataset: Dataset, words: Sequence[str] | None = None) -> int:
    """Build a dataset from the words of the command line; returns the exit code."""
    parser = OneLineParser(
        prog=f"python -m benchmarks.datasets.{dataset.name}",
        description=dataset.text,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder to write; it is made if it does not exist")
    parser.add_argument("--size", type=int, default=dataset.size, help="width and height in pixels (%(default)s)")
    parser.add_argument(
        "--min-images", type=int, default=dataset.min_images, help="pictures that a class needs (%(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the splits (%(default)s)")
    parser.add_argument("--force", action="store_true", help="build again, also if OUT is complete")
    arguments = parser.parse_args(words)
    try:
        summary = _build(dataset, arguments)
    except KmclError as error:
        print(error, file=sys.stderr)
        return 2
    print_summary(summary, arguments.out)
    # Only this line is meant to be pasted, so it stands alone.
    print("next: " + shell_command(_next_command(arguments.out, dataset.name)))
    return 0


def _build(dataset: Dataset, arguments: argparse.Namespace) -> dict[str, Any]:
    """The summary of the dataset in OUT, which is built first unless it is there with the same options."""
    out: Path = arguments.out
    for field, value, lowest in (
        ("--size", arguments.size, 16),
        ("--min-images", arguments.min_images, 3),
        ("--seed", arguments.seed, 0),
    ):
        if value < lowest:
            raise ConfigError(f"{field}: got {value}; valid: {lowest} or more")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"OUT: got {show_value(str(out))}, a file; valid: a folder, or a path that does not exist")
    options = {
        "version": dataset.version,
        "size": arguments.size,
        "min_images": arguments.min_images,
        "seed": arguments.seed,
    }
    summary_file = out / "summary.json"
    if summary_file.exists() and not arguments.force:
        summary: dict[str, Any] = json.loads(summary_file.read_text())
        if summary["options"] == options:
            return summary
    # The file stands for a complete dataset: it is removed first and written last.
    summary_file.unlink(missing_ok=True)
    left_out: Counter[str] = Counter()
    pictures = dataset.collect(out / "cache", arguments.size, left_out)
    table = write_dataset(
        out, pictures, left_out, min_images=arguments.min_images, seed=arguments.seed, suffix=dataset.suffix
    )
    summary = {"options": options, "source": dataset.source, "left out": left_out, **summarize(table)}
    with atomic_file(summary_file) as draft:
        draft.write_text(json.dumps(summary, indent=1))
    return summary


def print_summary(summary: dict[str, Any], out: Path) -> None:
    positives = summary["positives"]
    frequent, rare = next(iter(positives)), list(positives)[-1]
    print(f"{out / 'labels.csv'}: {summary['images']} pictures, {summary['classes']} classes")
    for name, part in summary["splits"].items():
        fewest = part["fewest positives of a class"]
        print(f"  {name}: {part['images']} pictures, at least {fewest} positives of each class")
    two = summary["images with two or more labels"]
    most = summary["most labels of an image"]
    print(f"  labels per picture: {summary['labels per image']} (most: {most}; two or more: {two:.0%})")
    print(
        f"  rarest class: {rare}, {positives[rare]} pictures; commonest: {frequent}, {positives[frequent]} "
        f"({summary['imbalance (most / fewest positives)']} times as many)"
    )
    print("  left out: " + ", ".join(f"{reason} {count}" for reason, count in summary["left out"].items()))


def _next_command(out: Path, name: str) -> list[str]:
    return ["kmcl", "data", "import", "table", str(out / "labels.csv"), str(out / f"{name}.parquet")]
