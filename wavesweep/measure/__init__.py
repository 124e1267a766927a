"""What a network does and costs: accuracy and friends, inference time, multiply-accumulates."""
