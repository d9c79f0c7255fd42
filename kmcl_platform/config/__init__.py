"""What a user writes: search files and trial configurations, checked; and the places of a store."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.config.after_search import (
        Decision as Decision,
        Promotion as Promotion,
    )
    from kmcl_platform.config.arms import (
        expand_arms as expand_arms,
        retrain_best as retrain_best,
        to_yaml as to_yaml,
    )
    from kmcl_platform.config.base import (
        Frozen as Frozen,
        describe_error as describe_error,
    )
    from kmcl_platform.config.first_trials import (
        active_paths as active_paths,
        base_name as base_name,
        find_missing_room as find_missing_room,
        is_point as is_point,
        list_baselines as list_baselines,
    )
    from kmcl_platform.config.loss_config import (
        LossConfig as LossConfig,
    )
    from kmcl_platform.config.reports.epoch_report import (
        GRADIENT_SHARES as GRADIENT_SHARES,
        SKIPPED_IMAGES as SKIPPED_IMAGES,
        TRAIN_LOSSES as TRAIN_LOSSES,
        EpochReport as EpochReport,
    )
    from kmcl_platform.config.reports.measurement import (
        Level as Level,
        Measurement as Measurement,
    )
    from kmcl_platform.config.search_file import (
        Baseline as Baseline,
        SearchFile as SearchFile,
    )
    from kmcl_platform.config.search_file_reader import (
        parse_search_file as parse_search_file,
        read_bytes as read_bytes,
        read_search_file as read_search_file,
    )
    from kmcl_platform.config.search_parts import Resources as Resources
    from kmcl_platform.config.space.distributions import (
        Choice as Choice,
        Distribution as Distribution,
        Int as Int,
        LogUniform as LogUniform,
        Uniform as Uniform,
    )
    from kmcl_platform.config.store import (
        NO_ROOM as NO_ROOM,
        Store as Store,
        check_room as check_room,
        full_disk_is_store_error as full_disk_is_store_error,
        no_room as no_room,
        open_store as open_store,
        sqlite_file as sqlite_file,
        sqlite_url as sqlite_url,
    )
    from kmcl_platform.config.store_record import (
        check_study as check_study,
        claim_study as claim_study,
        read_record as read_record,
        store_id as store_id,
    )
    from kmcl_platform.config.trial_config import (
        ModelConfig as ModelConfig,
        Scalar as Scalar,
        TrialConfig as TrialConfig,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
