"""Callbacks that watch and stop a run; the class that all have in common is in `training/run.py`."""
