"""Readers of datasets: `kmcl data import NAME`. `Reader` says what one has to have."""

MODULES = ("voc", "coco", "adp", "chestxray14", "table", "manifest")
"""The modules with one reader each. They import pandas and PyArrow only when a dataset is read."""
