"""What watches and stops a run."""
