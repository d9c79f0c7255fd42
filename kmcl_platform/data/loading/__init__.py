"""Batches of images for training and evaluation: order, decoding, augmentation."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.loading.dataset import (
        Batch as Batch,
        ImageDataset as ImageDataset,
        UnreadableImage as UnreadableImage,
    )
    from kmcl_platform.data.loading.decode import (
        UndecodableError as UndecodableError,
        decode_image as decode_image,
        decode_pixels as decode_pixels,
    )
    from kmcl_platform.data.loading.feature_dataset import (
        FeatureDataset as FeatureDataset,
        SplitDataset as SplitDataset,
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

__getattr__, __all__ = lazy_exports(__name__, __file__)
