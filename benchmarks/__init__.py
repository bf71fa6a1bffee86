"""Benchmarks: the asv suite, and the commands that print the tables of docs/explanation/performance.md."""
