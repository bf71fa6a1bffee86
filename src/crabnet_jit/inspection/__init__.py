"""What is wrong with a network: dead units, wrong gradients."""
