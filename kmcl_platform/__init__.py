"""Hyperparameter search for Kernel-based Multilabel Contrastive Learning (KMCL, arXiv 2307.03967)."""

__version__ = "0.1.0"
