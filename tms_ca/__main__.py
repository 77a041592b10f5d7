"""python -m tms_ca: the same as the command tms-ca."""

import sys

from tms_ca.cli.main import main

sys.exit(main())
