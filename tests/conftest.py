"""What all tests share."""

import torch

# The networks here are small: more threads would wait for each other longer than they compute.
torch.set_num_threads(1)
