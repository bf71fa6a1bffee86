"""`python -m crabnet_jit`."""

import sys

from crabnet_jit.cli.main import main

sys.exit(main())
