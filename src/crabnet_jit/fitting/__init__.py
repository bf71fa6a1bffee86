"""From a data set to a network."""
