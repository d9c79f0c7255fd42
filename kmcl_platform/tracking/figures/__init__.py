"""What a trial's run shows beside its metrics: a table of its classes, curves, co-occurrence, mistakes.

    driver                        disk                                   a process of lowest priority
    ──────                        ────                                   ────────────────────────────
    ScoreQueue.keep  ──►   evidence/SEARCH/trial-0003.completed.safetensors
    Artist.draw ──────────────────────────────────────────────────►     draw: table and pictures
                      evidence/SEARCH/trial-0003/                 ◄──
    TrialRuns.log_evidence (by the outbox) takes them into MLflow, and removes them

Scores lie there until their pictures are in MLflow, so that a driver's successor draws what is missing.
"""
