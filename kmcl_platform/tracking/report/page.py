"""The report of a search: one HTML page that needs no network, an artifact of the search's run."""

from html import escape
from typing import TYPE_CHECKING

from kmcl_platform.config.reports.trial_marks import OUTSIDE_SPACE, SPACE_CHANGES, SPENT, WARM_START
from kmcl_platform.config.search_file import SearchFile
from kmcl_platform.config.store import Store
from kmcl_platform.config.trial_config import Scalar
from kmcl_platform.data.report.figures_script import figure_place, figures_script
from kmcl_platform.data.report.style import html_page
from kmcl_platform.errors import ConfigError
from kmcl_platform.tracking.comparison.baselines import compare_leaderboard
from kmcl_platform.tracking.comparison.finalists import read_finalists
from kmcl_platform.tracking.comparison.leaderboard_text import UNUSED, front_lines
from kmcl_platform.tracking.comparison.trial_file import trial_file
from kmcl_platform.tracking.database import connect
from kmcl_platform.tracking.report.bounds import LimitingBound, find_limiting_bounds
from kmcl_platform.tracking.report.prior_points import describe_prior
from kmcl_platform.tracking.report.space_history import describe_space_changes
from kmcl_platform.tracking.runs.leaderboard import LeaderboardRow, list_endings
from kmcl_platform.tracking.runs.ownership import check_own

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from kmcl_platform.tracking.report.collect import Collected

REPORT_FILE = "report/report.html"
BEST_FILE = "report/best.yaml"
"""The best trial as a search file."""
_BEST = 5
"""Number of the best trials that are compared with the bounds of the space, at most."""
_ROWS = 50


def write_report(store: Store, search: str) -> str:
    """Make the report of a search and log it to its run, with the file of the best trial; both replace earlier ones.

    Returns:
        The page.

    Raises:
        SearchError: there is no such store or search, it has no finished trial, or it belongs to another store.
    """
    from kmcl_platform.tracking.report.collect import collect

    data = collect(store, search)
    check_own(store, data.board.experiment_id)
    page = to_page(data)
    client = connect(store)
    client.log_text(data.board.parent_id, page, REPORT_FILE)
    client.log_text(data.board.parent_id, trial_file(store, search).decode(), BEST_FILE)
    return page


def to_page(data: "Collected") -> str:
    """The report as one HTML page."""
    from kmcl_platform.tracking.report.figures import HEIGHT, build_figures

    sections = [_summary(data), _next(data), _finalists(data), _stopping(data), _speed(data), _leaderboard(data)]
    drawn: dict[str, go.Figure] = {}
    for figure in build_figures(data):
        body = f"<h2>{escape(figure.title)}</h2><p class='soft'>{escape(figure.text)}</p>"
        if figure.figure is not None:
            figure.figure.update_layout(height=HEIGHT, width=None, margin={"t": 24, "r": 24}, template="plotly_white")
            name = f"figure-{len(drawn)}"
            drawn[name] = figure.figure
            body += figure_place(name, HEIGHT)
        sections.append(f"<section>{body}</section>")
    title = f"Search {data.board.search}"
    return html_page(title, f"<h1>{escape(title)}</h1>{''.join(sections)}{figures_script(drawn)}")


def _summary(data: "Collected") -> str:
    board, best = data.board, data.board.best()
    comparison = compare_leaderboard(board)
    hours = sum(row.wall_seconds for row in board.rows) * data.devices / 3600
    tiles = [(_number(best.objective), f"{board.metric} of the best trial, {best.number}")]
    if comparison is not None and comparison.difference is not None:
        against = f"the best baseline, {comparison.baseline.baseline}"
        kind = "KMCL trial" if comparison.kmcl else "other trial"
        tiles.append((f"{comparison.difference:+.4f}", f"difference of the best {kind} from {against}"))
    tiles.append((f"{len(board.rows)}", f"trials: {list_endings(board.rows)}"))
    tiles.append((f"{hours:.3g}", f"{data.hours_name} of training and evaluation"))
    shown = "".join(
        f"<div class='tile'><b>{escape(value)}</b><span>{escape(text)}</span></div>" for value, text in tiles
    )
    dataset = escape(data.file.base.data.source)
    commit = escape(data.tags.get("kmcl.git_commit", "unknown")[:12])
    first = "" if comparison is None else f"<p>{escape(str(comparison))}</p>"
    return f"{first}<p class='soft'>data {dataset} · commit {commit}</p><div class='tiles'>{shown}</div>"


def _next(data: "Collected") -> str:
    board = data.board
    lines = [f"Verdict: {line}" for line in data.verdict]
    if data.file.arms and data.verdict:
        lines.append(
            "Each verdict is a paired t-test over seeds, with Holm's correction for all arms together: if no arm "
            "differs from the first one, the chance that any of them is called better or worse is at most 5 %. The "
            "interval of a difference has the confidence level of its step in this correction; it excludes 0 exactly "
            "where a difference is shown."
        )
    lines += [line[0].upper() + line[1:] for line in data.study.user_attrs.get(WARM_START, [])]
    lines += describe_space_changes(data.study.user_attrs.get(SPACE_CHANGES, []))
    best = _best_values(data)
    bounds = find_limiting_bounds(data.file.space, best, lambda path, value: _is_valid(data.file, path, value))
    lines += [_to_sentence(one) for one in bounds]
    if not bounds:
        lines.append(f"The best trials of full length ({len(best)}) are not close to any bound of the space.")
    ranked = [row for row in board.rows if row.rank is not None and row.objective is not None]
    if len(ranked) > 1:
        first, second = ranked[0].objective or 0.0, ranked[1].objective or 0.0
        lines.append(
            f"Trial {ranked[0].number} is ahead of trial {ranked[1].number} by {abs(first - second):.4f} on the "
            "validation split, which was also used to choose it."
        )
    if ranked:
        finalists = read_finalists(board)
        taken = f"trial {ranked[0].number}" if finalists is None else f"{finalists.best}, the best finalist,"
        lines.append(f"kmcl promote compares {taken} with the champion on images that no trial has seen.")
    lines += front_lines(board)
    lines += describe_prior(data.study.get_trials(deepcopy=False), data.file.objective.sign)
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>What to do next</h2><ul>{items}</ul></section>"


def _stopping(data: "Collected") -> str:
    from kmcl_platform.tracking.report.stopping import describe_stopping

    lines = describe_stopping(data.study.get_trials(deepcopy=False), data.board.num_epochs)
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>Did stopping pay?</h2><ul>{items}</ul></section>"


def _speed(data: "Collected") -> str:
    from kmcl_platform.tracking.report.step_time import describe_cost, describe_step_time

    trials = [(row.device, data.metrics.get(row.number, {})) for row in data.board.rows]
    lines = describe_step_time(trials, frozen=data.file.base.model.backbone_mode == "frozen")
    lines += describe_cost(data.study.user_attrs.get(SPENT, {}), data.file.resources.price_per_hour)
    if not lines:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f"<section><h2>Where does the time go?</h2><ul>{items}</ul></section>"


def _finalists(data: "Collected") -> str:
    finalists = read_finalists(data.board)
    if finalists is None:
        return ""
    items = "".join(f"<li>{escape(line)}</li>" for line in finalists.sentences())
    head = ("finalist", f"own {finalists.metric}", "mean over new seeds", "standard deviation", "seeds finished")
    cells = [
        (
            str(one),
            _number(one.own),
            _number(one.mean),
            _number(one.deviation),
            f"{one.finished} of {finalists.num_seeds}",
        )
        for one in finalists.trials
    ]
    rows = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in cells)
    table = f"<table><tr>{''.join(f'<th>{escape(name)}</th>' for name in head)}</tr>{rows}</table>"
    return f"<section><h2>Finalists</h2><ul>{items}</ul><div class='wide'>{table}</div></section>"


def _best_values(data: "Collected") -> list[dict[str, Scalar]]:
    """Optuna's parameters of the better half of the trials of full length, at most `_BEST`."""
    points = [one for one in data.study.get_trials(deepcopy=False) if OUTSIDE_SPACE not in one.user_attrs]
    params = {trial.number: trial.params for trial in points}
    ranked = [row.number for row in data.board.rows if row.rank is not None and row.number in params]
    return [params[number] for number in ranked[: min(_BEST, (len(ranked) + 1) // 2)]]


def _is_valid(file: SearchFile, path: str, value: Scalar) -> bool:
    try:
        file.base.with_values({path: value})
    except ConfigError:
        return False
    return True


def _to_sentence(one: LimitingBound) -> str:
    # Then the range can only become narrower.
    last = f", the {'smallest' if one.side == 'low' else 'largest'} valid value" if one.is_last else ""
    return (
        f"{one.num_close} of the {one.num_best} best trials are close to the {one.side} bound of "
        f"{one.path}, {one.bound:g}{last}: search {{{one.suggestion}}} next, with --extend."
    )


def _leaderboard(data: "Collected") -> str:
    board = data.board
    on = ["on"] if board.has_several_devices else []
    head = ["", "trial", "outcome", board.metric, *board.aims, "epochs", "seconds", *on, *board.paths]
    rows = "".join(_row(row, data) for row in board.rows[:_ROWS])
    more = len(board.rows) - _ROWS
    note = f"<p class='soft'>{more} more trials are in the leaderboard table of the run.</p>" if more > 0 else ""
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    return f"<section><h2>Trials</h2><div class='wide'><table><tr>{cells}</tr>{rows}</table></div>{note}</section>"


def _row(row: LeaderboardRow, data: "Collected") -> str:
    name = f"{row.number} (baseline {row.baseline_name})" if row.baseline else str(row.number)
    name += f" (from {row.source})" if row.source else ""
    cells = [
        "" if row.rank is None else str(row.rank),
        name,
        row.ending,
        _number(row.objective),
        *(f"{row.aims[name]:.4g}" if name in row.aims else "-" for name in data.board.aims),
        f"{row.epochs} of {data.board.num_epochs}",
        f"{row.wall_seconds:.0f}",
        *([row.device] if data.board.has_several_devices else []),
        *(_short(row.values[path]) if row.uses(path) else UNUSED for path in data.board.paths),
    ]
    kind = "" if row.rank is not None else " class='soft'"
    return f"<tr{kind}>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _short(value: str) -> str:
    try:
        return f"{float(value):.4g}"
    except ValueError:
        return value
