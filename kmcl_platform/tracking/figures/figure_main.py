"""Main module of the process that draws: reads requests, one JSON object a line, and answers each with one line.

It ends when its input ends. The driver's end, also by a crash, ends the input.
"""

import json
import os
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any

from kmcl_platform.messages import mask_passwords

NICENESS = 19
NORMAL_PRIORITY = "--normal-priority"
"""The word of the command with which the process keeps its caller's priority."""


def main() -> None:
    """Draw until the input ends."""
    if NORMAL_PRIORITY not in sys.argv:
        os.nice(NICENESS)
    # Before NumPy is loaded: its threads would take CPU time from the training workers.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MPLBACKEND="agg")
    from kmcl_platform.data.builtin.datasets import open_manifest

    manifests: dict[str, Any] = {}
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if request["source"] not in manifests:
                manifests[request["source"]] = open_manifest(request["source"], Path(request["data_dir"]))
            draw(request, manifests[request["source"]])
        # One drawing that fails, for any reason, must not end the process: others wait in the queue.
        except Exception as error:
            sys.stderr.write(mask_passwords(traceback.format_exc()))
            answer = {"error": f"{type(error).__name__}: {' '.join(str(error).split())}"}
        else:
            answer = {}
        print(json.dumps(answer), flush=True)  # noqa: T201  # The driver reads it.


def draw(request: dict[str, Any], manifest: Any) -> None:
    """Make the folder of one trial's table and pictures, completely or not at all."""
    import matplotlib

    from kmcl_platform.data.scores_file import read_scores
    from kmcl_platform.files.atomic_write import atomic_folder
    from kmcl_platform.tracking.figures.classes import class_table, measure_classes
    from kmcl_platform.tracking.figures.curves import draw_classes, draw_cooccurrence, draw_precision_recall
    from kmcl_platform.tracking.figures.picture_names import find_fonts, to_picture_names
    from kmcl_platform.tracking.runs.names import CLASS_TABLE_FILE

    own = read_scores(Path(request["scores"]))
    baseline = read_scores(Path(request["baseline"])) if request["baseline"] else None
    folder = Path(request["folder"])
    results = measure_classes(own, baseline)
    # An existing folder is from an earlier process, which ended before its figures were in the outbox.
    shutil.rmtree(folder, ignore_errors=True)
    with atomic_folder(folder) as draft:
        (draft / Path(CLASS_TABLE_FILE).name).write_text(class_table(manifest.class_names, results))
        if request["pictures"]:
            # It imports torch, to decode images as training does: a table alone does not need that.
            from kmcl_platform.tracking.figures.mistakes import draw_mistakes, find_mistakes

            title, names = request["title"], to_picture_names(manifest.class_names)
            matplotlib.rcParams["font.family"] = find_fonts(names)
            pictures = {
                "precision_recall": draw_precision_recall(own, names, results, title),
                "average_precision": draw_classes(names, results, title),
                "cooccurrence": draw_cooccurrence(own, names, title),
                "mistakes": draw_mistakes(manifest, find_mistakes(own), names, title),
            }
            for name, figure in pictures.items():
                figure.savefig(draft / f"{name}.png")


if __name__ == "__main__":
    main()
