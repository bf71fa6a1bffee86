"""Networks as objects of other programs. Each is imported when it is used."""
