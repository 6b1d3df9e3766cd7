"""``python -m tests.fuzz.traffic``: see ``run``."""

import sys

from tests.fuzz.traffic.run import main

sys.exit(main())
