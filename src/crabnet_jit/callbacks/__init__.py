"""Callbacks that watch and stop a run."""
