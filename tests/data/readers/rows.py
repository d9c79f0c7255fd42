"""The rows of a manifest in a short form, which tests compare."""

from kmcl_platform.data.manifest.manifest import Manifest


def rows_of(manifest: Manifest) -> dict[str, tuple[str, dict[str, int]]]:
    """Image to its split and the classes whose target is not 0."""
    return {
        row["image"]: (
            row["split"],
            {name: t for name, t in zip(manifest.class_names, row["targets"], strict=True) if t},
        )
        for row in manifest.table.to_pylist()
    }
