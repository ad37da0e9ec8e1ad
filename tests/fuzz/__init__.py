"""Damaged pictures, malformed bodies and what a machine makes of the OpenAPI document.

`make test` sends a share of them, `make fuzz` ten thousand to each protocol.
"""

import os

CASES = int(os.environ.get("TRIPTYCH_FUZZ_CASES", "500"))
"""How many damaged bodies each protocol gets."""
