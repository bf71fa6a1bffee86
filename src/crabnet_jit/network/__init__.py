"""What a network is: layers, initial parameters, files."""
