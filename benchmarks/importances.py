"""How long Optuna's fANOVA takes for the importance of parameters, and what it says, for more and more trials.

    python -m benchmarks.importances [--trials 250 500 1000]

The trials are made up: eight parameters between 0 and 1, of which the first two decide the value, with some noise. The
report of a search takes at most `MOST_EXPLAINED` trials because of this table (docs/decisions.md).
"""

import argparse
import time
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution


def made_up_study(num_trials: int) -> optuna.Study:
    random = np.random.default_rng(0)
    study = optuna.create_study(direction="maximize")
    for _ in range(num_trials):
        params = {f"parameter{place}": float(value) for place, value in enumerate(random.random(8))}
        value = 1.4 * params["parameter0"] + params["parameter1"] + random.normal(0, 0.05)
        study.add_trial(
            optuna.trial.create_trial(
                params=params, distributions=dict.fromkeys(params, FloatDistribution(0, 1)), value=float(value)
            )
        )
    return study


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, nargs="+", default=[250, 500, 1000])
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    print("| trials | seconds for one value | importance of the first, of the second |\n|---|---|---|")
    for num_trials in parser.parse_args().trials:
        study = made_up_study(num_trials)
        started = time.perf_counter()
        found = optuna.importance.get_param_importances(
            study, evaluator=optuna.importance.FanovaImportanceEvaluator(seed=0)
        )
        taken = time.perf_counter() - started
        print(f"| {num_trials} | {taken:.1f} | {found['parameter0']:.2f}, {found['parameter1']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
