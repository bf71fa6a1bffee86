"""The same job in several programs: how crabnet_jit compares.

`python -m benchmarks.peers` runs the project and every peer that is installed, each on
one core and in float64, and prints one table. `job` states what all of them do; each
`with_*` file is one program. Importing these files needs no peer but NumPy.
"""
