"""The platform's own pruners, which its schedulers build, and the verdicts that they keep."""
