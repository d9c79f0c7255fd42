"""The ended trials of a study, kept up to date, are those that a reader of the whole study finds."""

import math
import random

import optuna
import pytest
from optuna.trial import TrialState

from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.search_file_reader import parse_search_file
from kmcl_platform.search.study.ended_trials import EndedTrials, trial_end

FRONT = "objectives: [{metric: val/mAP}, {metric: latency_ms}]"


def read(aims: str) -> SearchFile:
    text = f"name: s\nbaselines: []\n{aims}\nspace:\n  optim.lr: {{kind: loguniform, low: 1e-4, high: 1e-1}}\n"
    return parse_search_file(f"{text}budget: {{trials: 60}}\nscheduler: {{kind: none}}\n".encode(), "s.yaml")


@pytest.mark.parametrize("aims", ["", "objective: {metric: train/loss}", FRONT])
def test_what_is_kept_up_to_date_is_what_the_whole_study_says(aims: str) -> None:
    file, choice = read(aims), random.Random(1)
    directions = [one.mode for one in file.objectives] or [file.objective.mode]
    study = optuna.create_study(direction=directions[0])
    kept, running = EndedTrials(file), []
    for _ in range(60):
        running.append(study.ask())
        if choice.random() < 0.9:
            running[-1].set_user_attr("values", {})
        if choice.random() < 0.3:
            running[-1].set_user_attr("baseline", "plain")
        while running and choice.random() < 0.6:
            trial = running.pop(choice.randrange(len(running)))
            # Few different values, so that there are ties.
            value, latency = choice.choice([0.1, 0.2, 0.3, 0.4, -math.inf * file.objective.sign]), choice.randrange(5)
            trial.set_user_attr("aims", {"latency_ms": float(latency)})
            state = choice.choice([TrialState.COMPLETE, TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL])
            study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)
        kept.update(study.get_trials(deepcopy=False))

        counted = [one for one in study.get_trials() if "values" in one.user_attrs]
        ended = [one for one in counted if one.state.is_finished()]
        completed = [one for one in ended if trial_end(one) == "completed"]
        assert kept.num_counted == len(counted)
        assert kept.ends == {one.number: trial_end(one) for one in ended}
        assert {one.number for one in kept.trials} == set(kept.ends)
        assert {one.number for one in kept.baselines} == {one.number for one in ended if "baseline" in one.user_attrs}
        best = sorted(completed, key=lambda one: (-file.objective.sign * (one.value or 0.0), one.number))
        assert kept.best() == [one.number for one in best] and kept.best(3) == kept.best()[:3]
        for value in (0.05, 0.2, 0.45, math.inf, -math.inf):
            better = sum(file.objective.sign * ((one.value or 0.0) - value) > 0 for one in completed)
            assert [kept.is_among_best(value, count) for count in (1, 5)] == [better < 1, better < 5]
        if not file.objectives:
            assert kept.front() == []
            continue
        optunas = optuna.create_study(directions=directions)
        for one in completed:
            values = [one.value, one.user_attrs["aims"]["latency_ms"]]
            optunas.add_trial(optuna.trial.create_trial(values=values, user_attrs={"number": one.number}))
        front = {one.user_attrs["number"] for one in optunas.best_trials}
        assert kept.front() == [number for number in kept.best() if number in front]
    assert len(kept.ends) > 40 and not kept.is_among_best(None, 99)
