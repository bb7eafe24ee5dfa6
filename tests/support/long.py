"""Whether the proofs that take minutes are wanted in full size."""

import os

LONG = os.environ.get("PLAYMESH_TEST_LONG") == "1"  # noqa: TID251 - of tests only
