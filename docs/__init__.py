"""Pages about the package, and what makes them."""
