"""Callbacks that watch and stop a run; their base class is in `training/run.py`."""
