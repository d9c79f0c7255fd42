"""The time of an evaluation of 40,000 x 80 scores, compared with scikit-learn's average precision.

    python -m benchmarks.metrics                 # 40,000 x 80, on the CPU
    python -m benchmarks.metrics --threads 1     # on one core

It prints the median and the slowest of repeated runs, and the CPU time, which a busy machine changes little.
`evaluate_scores` computes every metric of an epoch, with some labels unknown. scikit-learn computes average precision
alone, for the same scores with every label known. The largest difference between the two, over classes, is printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor

from kmcl_platform.method.metrics import average_precision_per_class
from kmcl_platform.training.evaluate import evaluate_scores


def draw(num_samples: int, num_classes: int, unknown: float) -> tuple[Tensor, Tensor, Tensor]:
    """Scores, complete targets with 3.6 % positives (as in COCO), and the same targets with some unknown."""
    generator = torch.Generator().manual_seed(0)
    shape = (num_samples, num_classes)
    scores_NK = torch.rand(shape, generator=generator)
    complete_NK = (torch.rand(shape, generator=generator) < 0.036).to(torch.int8)
    # -1 stands for an unknown label.
    partial_NK = complete_NK.masked_fill(torch.rand(shape, generator=generator) < unknown, -1)
    return scores_NK, complete_NK, partial_NK


def time_runs(run: Callable[[], object], repeats: int) -> tuple[float, float, float]:
    """Median and largest seconds, and median seconds of CPU time; a first run is not counted."""
    run()
    taken: list[float] = []
    worked: list[float] = []
    for _ in range(repeats):
        start, start_of_work = time.perf_counter(), time.process_time()
        run()
        taken.append(time.perf_counter() - start)
        worked.append(time.process_time() - start_of_work)
    return statistics.median(taken), max(taken), statistics.median(worked)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the evaluation's metrics.")
    parser.add_argument("--samples", type=int, default=40_000)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--unknown", type=float, default=0.05, help="share of unknown labels")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, help="of torch [default: torch decides]")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    scores_NK, complete_NK, partial_NK = draw(options.samples, options.classes, options.unknown)

    def sklearn() -> np.ndarray:
        return average_precision_score(complete_NK.numpy(), scores_NK.numpy(), average=None)

    print(f"{options.samples:,} x {options.classes} scores, torch threads: {torch.get_num_threads()}")
    partly = f"evaluate_scores, {100 * options.unknown:g} % unknown"
    for name, run, repeats in (
        (partly, lambda: evaluate_scores(scores_NK, partial_NK), options.repeats),
        ("evaluate_scores, all known", lambda: evaluate_scores(scores_NK, complete_NK), options.repeats),
        ("average_precision_per_class", lambda: average_precision_per_class(scores_NK, complete_NK), options.repeats),
        ("scikit-learn's average_precision_score", sklearn, 3),
    ):
        median, slowest, worked = time_runs(run, repeats)
        print(f"{name:<42} median {median:.3f} s, slowest {slowest:.3f} s of {repeats}; CPU time {worked:.3f} s")
    ours_K = average_precision_per_class(scores_NK, complete_NK).numpy()
    print(f"largest difference of a class to scikit-learn: {np.abs(ours_K - sklearn()).max():.1e}")


if __name__ == "__main__":
    main()
