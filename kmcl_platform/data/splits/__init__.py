"""Which image goes into which split: draws that keep every class's share, groups and identical pictures together."""
