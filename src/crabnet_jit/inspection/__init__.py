"""Finding problems of a network: dead units, wrong gradients."""
