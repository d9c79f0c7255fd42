"""Backbones that are not timm's, the further values of `model.backbone`. `CustomBackbone` says what one has to have."""

MODULES: tuple[str, ...] = ()
"""The modules with one backbone each. The platform has none of its own: timm has about a thousand networks."""
