"""The commands of searches that run as jobs on a Ray cluster. Heavy imports are inside them, as in `main`."""

import sys
from pathlib import Path

import click

from kmcl_platform.cli.options import changed_plugins_option, extend_option, open_store, store_options
from kmcl_platform.messages import mask_passwords, shell_command, show_path

_address_option = click.option(
    "--address", required=True, envvar="RAY_API_SERVER_ADDRESS", help="Ray's job server: http://HOST:8265."
)


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--address", envvar="RAY_API_SERVER_ADDRESS", help="Ray's job server: http://HOST:8265.")
@click.option("--slurm", is_flag=True, help="Send it to SLURM, as a job with a Ray cluster of its own.")
@click.option(
    "--sbatch",
    "options",
    multiple=True,
    metavar="OPTION",
    help="With --slurm: an option of sbatch, such as --sbatch=--nodes=2; may be repeated.",
)
@click.option(
    "--stop-seconds",
    type=click.IntRange(30, 65_535),
    default=180,
    show_default=True,
    help="With --slurm: so long before the end of the job's time the search stops and the job is queued again.",
)
@click.option("--follow", is_flag=True, help="Stream the job's output until it ends.")
@click.option(
    "--secret",
    "secrets",
    multiple=True,
    metavar="NAME",
    help="Environment variable for the search's driver, hidden from other users; may be repeated.",
)
@changed_plugins_option
@extend_option
@store_options
def submit(
    file: Path,
    address: str | None,
    slurm: bool,
    options: tuple[str, ...],
    stop_seconds: int,
    follow: bool,
    secrets: tuple[str, ...],
    allow_changed_plugins: bool,
    extend: bool,
    folder: Path,
    tracking_uri: str | None,
) -> None:
    """Send the search in FILE to a Ray cluster or to SLURM; every node must see --store under the same path."""
    from kmcl_platform import submit as submit_search, submit_to_slurm

    store = open_store(folder, tracking_uri)
    if slurm:
        # The environment may have an address of Ray, which does not matter here.
        for name, given in (("--follow", follow), ("--secret", bool(secrets))):
            if given:
                raise click.UsageError(
                    f"{name} with --slurm; valid: without it, because a job of SLURM has your environment"
                )
        sent = submit_to_slurm(
            file,
            store=store,
            options=options,
            stop_seconds=stop_seconds,
            allow_changed_plugins=allow_changed_plugins,
            extend=extend,
        )
        click.echo(f"job {sent.job_id} submitted to SLURM; its script: {show_path(sent.script)}")
        click.echo(f"  state       {shell_command(['squeue', '--jobs', sent.job_id])}")
        click.echo(f"  logs        {shell_command(['tail', '-f', sent.output])}")
        click.echo(f"  stop        {shell_command(['scancel', '--batch', '--signal=TERM', sent.job_id])}")
        return
    if address is None:
        raise click.UsageError("got neither --address nor --slurm; valid: one of them")
    if options:
        raise click.UsageError("got --sbatch without --slurm; valid: both")
    job = submit_search(
        file,
        address=address,
        store=store,
        secrets=secrets,
        allow_changed_plugins=allow_changed_plugins,
        extend=extend,
        say=click.echo,
    )
    place = ["--address", mask_passwords(address)]
    click.echo(f"job {job.job_id} submitted to {mask_passwords(address)}")
    click.echo(f"  dashboard   {job.dashboard}")
    click.echo(f"  logs        {shell_command(['kmcl', 'logs', job.job_id, '--follow', *place])}")
    click.echo(f"  stop        {shell_command(['kmcl', 'stop', job.job_id, *place])}")
    # The exit code is the job's, so that a script can wait for a search.
    if follow and not job.follow(click.echo):
        sys.exit(1)


@click.command()
@_address_option
def jobs(address: str) -> None:
    """List the searches that were submitted to a Ray cluster, the latest first."""
    from rich.table import Table

    from kmcl_platform import open_jobs
    from kmcl_platform.shown import open_console

    table = Table(box=None)
    for name in ("job", "search", "status", "started"):
        table.add_column(name, no_wrap=True)
    table.add_column("message")
    for job in open_jobs(address).list():
        started = job.started.astimezone().strftime("%Y-%m-%d %H:%M") if job.started else "-"
        table.add_row(job.job_id, job.search, job.status, started, job.message)
    open_console().print(table if table.row_count else "no jobs; next: kmcl submit FILE")


@click.command()
@click.argument("job_id", metavar="ID")
@_address_option
@click.option("--follow", is_flag=True, help="Print until the job ends.")
def logs(job_id: str, address: str, follow: bool) -> None:
    """Print the output of job ID."""
    from kmcl_platform import open_jobs

    cluster = open_jobs(address)
    if not follow:
        click.echo(cluster.logs(job_id), nl=False)
    elif not cluster.follow(job_id, click.echo):
        sys.exit(1)


@click.command()
@click.argument("job_id", metavar="ID")
@_address_option
def stop(job_id: str, address: str) -> None:
    """Stop job ID in an orderly way: its trials keep their checkpoints, and its search can be continued."""
    from kmcl_platform import stop_job

    status = stop_job(job_id, address=address)
    going_on = "; nothing is lost. To continue: kmcl submit with the same file and store" if status == "STOPPED" else ""
    click.echo(f"job {job_id}: {status}{going_on}")


COMMANDS = (submit, jobs, logs, stop)
