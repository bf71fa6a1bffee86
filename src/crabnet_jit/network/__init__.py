"""Networks: layers, initial parameters, files."""
