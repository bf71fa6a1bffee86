"""`crabnet-jit export`: a saved network as a file for other programs."""

import argparse

import crabnet_jit
from crabnet_jit import load


def export(options: argparse.Namespace) -> None:
    """Write the file, and for some suffixes a second one."""
    net = load(options.model)
    crabnet_jit.export(net, options.to, prefix=options.prefix, dtype=options.dtype, header=options.header)
