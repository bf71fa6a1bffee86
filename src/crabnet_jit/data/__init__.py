"""Where samples come from: random numbers, targets, sources."""
