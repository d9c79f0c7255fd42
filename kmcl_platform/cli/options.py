"""The options that several commands have, first of all those that name a store."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from kmcl_platform.messages import mask_passwords, shell_command, show_path

if TYPE_CHECKING:
    from kmcl_platform import Store

DEFAULT_STORE = "kmcl_store"
_STUDY_URL = "kmcl.study_url"

changed_plugins_option = click.option(
    "--allow-changed-plugins",
    is_flag=True,
    help="Go on with the code that plug-ins have now. Trials that have begun keep the code of then.",
)

extend_option = click.option(
    "--extend", is_flag=True, help="Go on with other ranges of the space, or with new paths in it."
)


def store_options(command: Any) -> Any:
    """Give a command `--store`, `--tracking-uri` and `--study-url`.

    The command receives `folder` and `tracking_uri`, and gives both to `open_store`, which knows the study's address.
    """
    command = click.option(
        "--study-url",
        envvar="KMCL_STUDY_URL",
        # Not a parameter of each command, as only `open_store` needs it: the callback puts it into the context.
        expose_value=False,
        is_eager=True,
        callback=_keep_study_url,
        help="Database of the Optuna studies [default: SQLite in the store].",
    )(command)
    command = click.option(
        "--tracking-uri",
        envvar="KMCL_TRACKING_URI",
        help="MLflow tracking server or database [default: SQLite in the store].",
    )(command)
    return click.option(
        "--store",
        "folder",
        type=click.Path(path_type=Path, file_okay=False),
        default=DEFAULT_STORE,
        show_default=True,
        envvar="KMCL_STORE",
        help="Folder of the studies, runs, checkpoints and models.",
    )(command)


def open_store(folder: Path, tracking_uri: str | None) -> "Store":
    """The store that the options of the running command name.

    Raises:
        ConfigError: the folder's name is not UTF-8.
    """
    from kmcl_platform import Store

    return Store(folder, tracking_uri, click.get_current_context().meta.get(_STUDY_URL))


def check_new_file(option: str, path: Path, suffix: str, what: str, *, overwrite: bool) -> None:
    """Refuse a path that the command should not write to.

    Args:
        option: that names the path.
        path: the file.
        suffix: that its name must have.
        what: what the file is, for messages.
        overwrite: whether a file that exists may be replaced.

    Raises:
        ConfigError: the name ends otherwise, or the file exists.
    """
    from kmcl_platform.errors import ConfigError
    from kmcl_platform.files.file_status import is_folder, is_link, is_there

    if path.suffix != suffix:
        raise ConfigError(f"{option}: got {show_path(path)}; valid: the path of {what} (*{suffix})")
    # A link to nothing would be replaced by the file.
    if (is_there(path) or is_link(path)) and not overwrite:
        raise ConfigError(f"{option}: got {show_path(path)}, which exists; valid: a new file, or --overwrite")
    # Before the work, and not after it.
    if not is_folder(path.parent):
        raise ConfigError(f"{option}: got {show_path(path)}; valid: a path in a folder that exists")


def write_text_file(path: Path, text: str) -> None:
    """Write a file that the user named; a kill leaves the old file or the new one.

    Raises:
        ConfigError: the file cannot be written.
    """
    from kmcl_platform.errors import ConfigError
    from kmcl_platform.files.atomic_write import write_atomically

    try:
        write_atomically(path, text)
    except OSError as error:
        raise ConfigError(
            f"{show_path(path)}: cannot be written: {error.strerror}; valid: a file in a folder that can be written to"
        ) from None


def store_words(folder: Path) -> str:
    """The options that make a further command find the same store, quoted for a shell, with a space before them.

    Options that come from the environment are left out, because the next command reads them from there too.
    """
    words: list[object] = [] if folder == Path(DEFAULT_STORE) else ["--store", folder]
    context = click.get_current_context(silent=True)
    if context is not None:
        given = {"--tracking-uri": context.params.get("tracking_uri"), "--study-url": context.meta.get(_STUDY_URL)}
        for option, value in given.items():
            name = option.removeprefix("--").replace("-", "_")
            if value and context.get_parameter_source(name) == ParameterSource.COMMANDLINE:
                # The command is printed, so the user must put a password into it again.
                words += [option, mask_passwords(value)]
    return f" {shell_command(words)}" if words else ""


def _keep_study_url(context: click.Context, _: click.Parameter, value: str | None) -> None:
    context.meta[_STUDY_URL] = value
