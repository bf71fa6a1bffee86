"""Table files: unpacking, rows and cells, types of columns. It knows nothing of options or networks."""
