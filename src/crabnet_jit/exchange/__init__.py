"""Networks as objects of other programs. Each module is imported when it is used."""
