"""Simulated searches: the study of a real search, and the learning curves of an archive in place of training.

archive_curves   the curves of an archive that belong to a search file
surrogate        curves of points that the archive does not have
virtual_search   one search in virtual time
replay           many searches, and several settings side by side
replay_page      the result as one HTML page
"""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.search.replay.replay import (
        Replay as Replay,
        run_replay as run_replay,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
