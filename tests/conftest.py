"""What all tests share."""

import torch
from hypothesis import settings

# The networks here are small: more threads would wait for each other longer than they compute.
torch.set_num_threads(1)

# The same examples each time, so that a failure comes from a change; `--hypothesis-profile=explore` draws new ones.
settings.register_profile("repeatable", derandomize=True, max_examples=50)
settings.register_profile("explore", derandomize=False, print_blob=True, max_examples=200)
settings.load_profile("repeatable")
