"""The answers and the log of the process that draws have no password."""

import io
import json
import sys
from pathlib import Path

import pytest

from kmcl_platform.config.store import open_store
from kmcl_platform.tracking.figures import figure_main
from kmcl_platform.tracking.figures.figure_process import FigureProcess
from kmcl_platform.tracking.figures.score_queue import QueuedScores

ERROR = "cannot read\nhttp://me:s3cr3t@host/x.png"


def test_the_log_of_a_drawing_that_fails_has_no_password(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(ERROR)

    monkeypatch.setattr(figure_main, "NICENESS", 0)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MPLBACKEND"):
        monkeypatch.setenv(name, "1" if name != "MPLBACKEND" else "agg")
    monkeypatch.setattr("kmcl_platform.data.builtin.datasets.open_manifest", refuse)
    monkeypatch.setattr(sys, "stdin", io.StringIO(json.dumps({"source": "x", "data_dir": str(tmp_path)}) + "\n"))
    figure_main.main()
    written = capsys.readouterr()
    assert json.loads(written.out)["error"].startswith("OSError: cannot read http://")
    assert "Traceback" in written.err and "http://me:***@host/x.png" in written.err
    assert "s3cr3t" not in written.err


def test_a_drawing_that_fails_is_reported_without_a_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed: list[str] = []
    figures = FigureProcess(open_store(tmp_path), "s", "digits", done=print, failed=failed.append)
    answer = {"error": f"OSError: {' '.join(ERROR.split())}"}
    monkeypatch.setattr(figures, "_ask", lambda *_: (answer, ""))
    figures.draw(QueuedScores(3, True, tmp_path / "scores", tmp_path / "figures"), None)
    figures.finish()
    assert failed == ["no figures of trial 3: OSError: cannot read http://me:***@host/x.png"]
