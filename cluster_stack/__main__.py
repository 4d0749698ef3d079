"""Entry point of ``python -m cluster_stack``."""

import sys

from cluster_stack.cli import main

sys.exit(main())
