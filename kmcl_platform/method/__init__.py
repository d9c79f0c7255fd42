"""The mathematics of KMCL, in torch and timm alone: kernels, losses, networks, metrics (docs/method.md)."""
