"""The artist's process: reads what is to be drawn, a JSON object a line, and answers each with one.

It ends with its input, and so with the driver, however that ends.
"""

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

NICENESS = 19


def main() -> None:
    """Draw until the input ends."""
    os.nice(NICENESS)
    # Before NumPy is loaded: its threads would take what the training workers leave each other.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MPLBACKEND="agg")
    from kmcl_platform.data.builtin.datasets import open_manifest

    manifests: dict[str, Any] = {}
    for line in sys.stdin:
        words = json.loads(line)
        try:
            if words["source"] not in manifests:
                manifests[words["source"]] = open_manifest(words["source"], Path(words["data_dir"]))
            draw(words, manifests[words["source"]])
        except Exception as error:
            traceback.print_exc()
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        else:
            answer = {}
        print(json.dumps(answer), flush=True)  # noqa: T201  # what the driver waits for


def draw(words: dict[str, Any], manifest: Any) -> None:
    """Make one trial's folder, whole or not at all."""
    from kmcl_platform.data.scores_file import read_scores
    from kmcl_platform.tracking.figures.classes import class_table, measure_classes
    from kmcl_platform.tracking.figures.curves import draw_classes, draw_cooccurrence, draw_precision_recall
    from kmcl_platform.tracking.figures.mistakes import draw_mistakes, find_mistakes
    from kmcl_platform.tracking.runs.names import CLASS_TABLE_FILE

    own = read_scores(Path(words["scores"]))
    baseline = read_scores(Path(words["baseline"])) if words["baseline"] else None
    names = manifest.class_names
    folder = Path(words["folder"])
    draft = folder.with_name(f".{folder.name}.drawing")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    results = measure_classes(own, baseline)
    (draft / Path(CLASS_TABLE_FILE).name).write_text(class_table(names, results))
    if words["complete"]:
        title = words["title"]
        pictures = {
            "precision_recall": draw_precision_recall(own, names, results, title),
            "average_precision": draw_classes(names, results, title),
            "cooccurrence": draw_cooccurrence(own, names, title),
            "mistakes": draw_mistakes(manifest, find_mistakes(own), title),
        }
        for name, figure in pictures.items():
            figure.savefig(draft / f"{name}.png")
    shutil.rmtree(folder, ignore_errors=True)
    draft.rename(folder)


if __name__ == "__main__":
    main()
