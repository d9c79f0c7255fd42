"""The figure of several objectives: the trials, and the trade-offs among them."""

import plotly.graph_objects as go

from kmcl_platform.tracking.runs.leaderboard import Leaderboard, LeaderboardRow


def trade_offs(board: Leaderboard) -> go.Figure:
    """The main objective of each trial of full length over the second one; a third one gives the colour.

    Raises:
        ValueError: the search has one objective.
    """
    main, *others = board.objectives
    if not others:
        raise ValueError("got one objective; valid: two or more")
    front = {row.number for row in board.front()}
    figure, axis = go.Figure(), "coloraxis" if len(others) > 1 else None
    for kept, name, symbol in ((True, "trade-off", "circle"), (False, "other trial", "circle-open")):
        rows = [row for row in board.rows if _is_complete(row, others) and (row.number in front) is kept]
        colours = [row.aims[others[1]] for row in rows] if len(others) > 1 else "#3566a8"
        figure.add_scatter(
            x=[row.aims[others[0]] for row in rows],
            y=[row.objective for row in rows],
            text=[_label(row, others) for row in rows],
            mode="markers",
            name=name,
            marker={
                "symbol": symbol,
                "size": 10,
                "color": colours,
                "coloraxis": axis,
            },
        )
    if len(others) > 1:
        figure.update_layout(coloraxis={"colorbar": {"title": others[1]}, "colorscale": "Viridis"})
        # Beside the colour bar, not over it.
        figure.update_layout(legend={"orientation": "h"})
    figure.update_layout(xaxis_title=others[0], yaxis_title=main)
    return figure


def _is_complete(row: LeaderboardRow, others: list[str]) -> bool:
    return row.rank is not None and set(others) <= row.aims.keys()


def _label(row: LeaderboardRow, others: list[str]) -> str:
    kind = f" (baseline {row.baseline_name})" if row.baseline else ""
    return f"trial {row.number}{kind}, " + ", ".join(f"{name} {row.aims[name]:.4g}" for name in others)
