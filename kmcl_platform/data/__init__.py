"""Datasets: manifests, readers of official layouts, checks, packed shards, batches of images."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.augmentation.single_images import (
        cutout as cutout,
    )
    from kmcl_platform.data.builtin.datasets import (
        manifest_location as manifest_location,
        open_manifest as open_manifest,
    )
    from kmcl_platform.data.builtin.digits import (
        build_digits as build_digits,
    )
    from kmcl_platform.data.check.check import (
        check_manifest as check_manifest,
    )
    from kmcl_platform.data.check.json_report import (
        to_json as to_json,
    )
    from kmcl_platform.data.check.remedies import (
        Remedy as Remedy,
        find_remedies as find_remedies,
    )
    from kmcl_platform.data.loading.dataset import (
        Batch as Batch,
        ImageDataset as ImageDataset,
        UnreadableImage as UnreadableImage,
    )
    from kmcl_platform.data.loading.decode import (
        UndecodableError as UndecodableError,
        decode_pixels as decode_pixels,
    )
    from kmcl_platform.data.loading.image_files import (
        find_images as find_images,
    )
    from kmcl_platform.data.loading.loader import (
        build_loader as build_loader,
    )
    from kmcl_platform.data.loading.samplers import (
        ShardedSequence as ShardedSequence,
    )
    from kmcl_platform.data.loading.shard_shuffle import (
        build_training_order as build_training_order,
    )
    from kmcl_platform.data.loading.to_rgb import (
        WHITE as WHITE,
        Colour as Colour,
        parse_colour as parse_colour,
    )
    from kmcl_platform.data.loading.transforms import (
        EvalTransform as EvalTransform,
        TrainTransform as TrainTransform,
        Transform as Transform,
    )
    from kmcl_platform.data.manifest.import_command import (
        ImportCommand as ImportCommand,
    )
    from kmcl_platform.data.manifest.manifest import (
        SPLITS as SPLITS,
        Manifest as Manifest,
        build_manifest as build_manifest,
    )
    from kmcl_platform.data.manifest.parquet import (
        read_manifest as read_manifest,
        write_manifest as write_manifest,
    )
    from kmcl_platform.data.manifest.relative_paths import (
        place_manifest as place_manifest,
    )
    from kmcl_platform.data.manifest.split_counts import (
        to_table as to_table,
    )
    from kmcl_platform.data.manifest.table_errors import (
        Fault as Fault,
        FaultyTable as FaultyTable,
        group_faults as group_faults,
    )
    from kmcl_platform.data.pack.write_shards import (
        MANIFEST_NAME as MANIFEST_NAME,
    )
    from kmcl_platform.data.report.cooccurrence import (
        count_cooccurrence as count_cooccurrence,
        order_by_similarity as order_by_similarity,
    )
    from kmcl_platform.data.report.page import (
        to_html as to_html,
        write_page as write_page,
    )
    from kmcl_platform.data.report.style import (
        STYLE as STYLE,
    )
    from kmcl_platform.data.scores_file import (
        VALIDATION_SCORES as VALIDATION_SCORES,
        SplitScores as SplitScores,
        read_scores as read_scores,
        scores_to_bytes as scores_to_bytes,
    )
    from kmcl_platform.data.storage.byte_sizes import (
        parse_size as parse_size,
    )
    from kmcl_platform.data.storage.location import (
        Location as Location,
        parse_location as parse_location,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
