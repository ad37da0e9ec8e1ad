"""`python -m training` is `triptych-train`."""

from training.cli import main

raise SystemExit(main())
