"""A replay as one HTML page that needs no network: best value against epochs and against hours."""

from html import escape

import numpy as np
import plotly.graph_objects as go

from kmcl_platform.data.report.figures_script import figure_place, figures_script
from kmcl_platform.data.report.style import html_page
from kmcl_platform.search.replay.replay import Outcome, Replay
from kmcl_platform.search.replay.replay_table import EXPLANATION, cells, column_names, describe_archive
from kmcl_platform.search.replay.statistics import quantile_of_searches
from kmcl_platform.search.replay.virtual_search import VirtualSearch

_POINTS = 200
_HEIGHT = 440
_COLOURS = ("#3566a8", "#d9822b", "#4d9a73", "#a3401f", "#7a5ba6", "#667180", "#b58900", "#2aa198")


def to_page(replay: Replay) -> str:
    """The page."""
    lines = "".join(f"<p class='soft'>{escape(line)}</p>" for line in describe_archive(replay))
    sections = [f"<section><h2>Settings</h2>{_table(replay)}<p class='soft'>{escape(EXPLANATION)}</p></section>"]
    figures = {}
    for name, unit in (("epochs", "epochs of all trials"), ("hours", "hours")):
        figures[name] = _figure(replay, hours=name == "hours", unit=unit)
        body = figure_place(name, _HEIGHT)
        text = "Median of the best value so far over the simulated searches, with its quartiles."
        sections.append(f"<section><h2>Best value over {name}</h2><p class='soft'>{text}</p>{body}</section>")
    title = f"Replay of {replay.search}"
    return html_page(title, f"<h1>{escape(title)}</h1>{lines}{''.join(sections)}{figures_script(figures)}")


def _table(replay: Replay) -> str:
    rows = [
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells(replay, outcome)) + "</tr>"
        for outcome in replay.outcomes
    ]
    titles = "".join(f"<th>{escape(name)}</th>" for name in column_names(replay))
    return f"<div class='wide'><table><tr>{titles}</tr>{''.join(rows)}</table></div>"


def _figure(replay: Replay, *, hours: bool, unit: str) -> go.Figure:
    figure = go.Figure()
    longest = max(_last(one, hours=hours) for outcome in replay.outcomes for one in outcome.searches)
    places = np.linspace(0, longest, _POINTS)
    for number, outcome in enumerate(replay.outcomes):
        colour = _COLOURS[number % len(_COLOURS)]
        low, middle, high = _quartiles(outcome, places, replay.sign, hours=hours)
        figure.add_scatter(
            x=[*places, *places[::-1]],
            y=[*low, *high[::-1]],
            fill="toself",
            fillcolor=colour,
            opacity=0.15,
            line={"width": 0},
            hoverinfo="skip",
            showlegend=False,
        )
        figure.add_scatter(x=places, y=middle, name=outcome.name, line={"color": colour})
    figure.update_layout(
        height=_HEIGHT,
        margin={"t": 24, "r": 24},
        template="plotly_white",
        xaxis_title=unit,
        yaxis_title=replay.metric,
        legend={"orientation": "h", "y": -0.2},
    )
    return figure


def _quartiles(
    outcome: Outcome, places: np.ndarray, sign: int, *, hours: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    values = np.full((len(outcome.searches), len(places)), np.nan)
    for row, one in enumerate(outcome.searches):
        moments = np.array(one.seconds) / 3600 if hours else np.array(one.epochs)
        found = np.searchsorted(moments, places, side="right") - 1
        known = found >= 0
        values[row, known] = np.array(one.best)[found[known]]
    # Where a search has no value yet at that place, the curve has a gap.
    low, middle, high = (
        np.array([quantile_of_searches(column, share, sign) for column in values.T], dtype=float)
        for share in (0.25, 0.5, 0.75)
    )
    return low, middle, high


def _last(search: VirtualSearch, *, hours: bool) -> float:
    return float(search.total_seconds / 3600 if hours else search.total_epochs)
