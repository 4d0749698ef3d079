"""Runs one call of ``cluster_stack.automation`` inside the lab's network, for ``Site.call``.

Standard input: a pickled (function name, arguments, keyword arguments). The last argument of the command line: the file
for the pickled (result, exception).
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path

from cluster_stack import automation
from cluster_stack.config import ConfigError


def main() -> None:
    name, arguments, keywords = pickle.load(sys.stdin.buffer)
    result, problem = None, None
    try:
        result = getattr(automation, name)(*arguments, **keywords)
    except (ConfigError, automation.ClusterError) as error:
        problem = error
    Path(sys.argv[1]).write_bytes(pickle.dumps((result, problem)))


if __name__ == "__main__":
    main()
