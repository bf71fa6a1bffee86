"""`python -m crabnet_jit`."""

import sys

from crabnet_jit.cli import main

sys.exit(main())
