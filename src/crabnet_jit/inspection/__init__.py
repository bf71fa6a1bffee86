"""What is wrong with a network: units that are dead, gradients that are."""
