"""`python -m training`: the same as `triptych-train`; torchrun starts it so."""

import os
import sys

from training.cli import main
from training.distributed import launched_rank

code = main()
if launched_rank() is not None:
    # All is written by now. Threads that torch's collectives leave behind can abort a rank while
    # its interpreter winds down (seen once, on a loaded machine), and torchrun
    # would take a run that was published for a failed one.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
raise SystemExit(code)
