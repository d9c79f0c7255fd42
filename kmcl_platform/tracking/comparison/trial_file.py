"""A trial as a search file of its own: the file of its search, with the trial's values as the base."""

from kmcl_platform.config.arms import to_yaml
from kmcl_platform.config.store import Store
from kmcl_platform.errors import SearchError
from kmcl_platform.messages import show_path
from kmcl_platform.tracking.comparison.finalists import promoted_row
from kmcl_platform.tracking.database import connect_to_read
from kmcl_platform.tracking.runs.leaderboard import read_leaderboard
from kmcl_platform.tracking.runs.searches import read_latest_search_file
from kmcl_platform.tracking.runs.trial_params import read_config


def trial_file(store: Store, search: str, number: int | None = None) -> bytes:
    """The search file of a trial, as YAML, with every value written out.

    It has the name SEARCH-trialN, and can be searched, planned or trained as any other file.

    Args:
        store: where the search is.
        search: its name.
        number: of the trial. None: the one that a promotion takes.

    Raises:
        SearchError: there is no such store, search or trial, or no trial has reached its last epoch.
    """
    board = read_leaderboard(store, search)
    if number is None:
        row = promoted_row(board)
    else:
        found = {row.number: row for row in board.rows}
        if number not in found:
            numbers = f"0 to {max(found)}" if found else "none"
            raise SearchError(f"search {search!r}: got trial {number}; valid: {numbers}")
        row = found[number]
    file = read_latest_search_file(store, search)
    base = read_config(connect_to_read(store).get_run(row.run_id), file.base)
    head = f"# Trial {row.number} of search {search} in the store {show_path(store.root)}.\n"
    return head.encode() + to_yaml(file.model_copy(update={"name": f"{search}-trial{row.number}", "base": base}))
