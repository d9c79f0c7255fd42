"""Augmentations: the values of `data.augmentation`. No one crops, because a crop can remove the object of a label."""

MODULES = ("none", "flip", "rand_augment", "released", "timm", "torchvision")
"""The modules with one augmentation each. They import libraries only when an augmentation is built."""
