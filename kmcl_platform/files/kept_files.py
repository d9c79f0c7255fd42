"""Several files that are written together: if one cannot be, the others are as they were."""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kmcl_platform.files.atomic_write import draft_path
from kmcl_platform.files.file_status import is_file, is_there


@contextmanager
def unchanged_on_error(paths: Sequence[Path]) -> Iterator[None]:
    """Write files completely or not at all: if the block raises, those of before are back, and new ones are removed.

    After a kill inside the block, what was there before is beside it, under a hidden name.

    Args:
        paths: the files; each is replaced as a whole, as `write_atomically` does.

    Raises:
        OSError: the folder cannot be written to.
    """
    new = [path for path in paths if not is_there(path)]
    kept = {path: draft_path(path) for path in paths if is_file(path)}
    try:
        for path, former in kept.items():
            try:
                os.link(path, former)
            except OSError:
                # A file system without hard links.
                shutil.copy2(path, former)
        yield
    except BaseException:
        for path, former in kept.items():
            # It is missing if it could not be made.
            if is_file(former):
                former.replace(path)
        for path in new:
            path.unlink(missing_ok=True)
        raise
    finally:
        for former in kept.values():
            former.unlink(missing_ok=True)
