"""What a model costs to use: names of the numbers that are measured before a trial trains."""

LATENCY = "latency_ms"
"""Milliseconds for one prepared image, on the serving device: the least of several passes."""
PARAMETERS = "params_millions"
"""Millions of parameters of the model that takes images (or the user's own features)."""
FLOPS = "gflops"
"""Billions of floating-point operations for one image: two for each multiplication with an addition, as PyTorch counts
them; layers without matrix products count nothing."""

COSTS = (LATENCY, PARAMETERS, FLOPS)
"""Less is better for all of them. They do not depend on the weights, so a trial has the same values in each epoch."""
