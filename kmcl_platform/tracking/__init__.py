"""MLflow's record of searches.

database    open MLflow's store; requests, retries and errors
runs        what a search and its trials have there; the leaderboard; the comparison of arms
figures     a trial's table and pictures, drawn by a process of their own
writing     from the driver to MLflow, without waiting
report      the report page of a search
ui_server   MLflow's own UI on a store
"""
