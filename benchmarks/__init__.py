"""Benchmarks: the asv suite, and the commands that print the tables of docs/performance.md."""
