"""Sources of samples: random numbers, targets, data sets."""
