"""What worker processes import: ``seawall.entry:app``, the app behind Seawall.

Made at import, from what ``seawall serve`` announced in the environment.
"""

import sys

from seawall.errors import SeawallError
from seawall.front import announced, stand
from seawall.serve.processes import follow

try:
    located, parent = announced()
    follow(parent)
    app = stand(located.app)
except SeawallError as error:
    sys.stderr.write(f"error: {error}\n")
    # What servers exit with when a new worker would fail the same way: no restart.
    sys.exit(3)
