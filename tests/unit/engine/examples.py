"""How many random examples the engine is compared with graphql-core's executor on: some in CI, many by `make fuzz`."""

import os

from hypothesis import strategies as st

# `make fuzz FUZZ_EXAMPLES=20000` sets it.
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
# Hypothesis draws but the seed, since to draw each choice of a document takes longer than to answer it.
RANDOMS = st.randoms(use_true_random=True)
