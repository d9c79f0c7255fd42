"""Hyperparameter search for Kernel-based Multilabel Contrastive Learning (KMCL, arXiv 2307.03967).

The names of this package are its Python API (docs/python.md). Each is imported when it is first used.
"""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

__version__ = "0.1.0"

if TYPE_CHECKING:
    from kmcl_platform.api.archives import (
        Archive as Archive,
        archive as archive,
        replay as replay,
    )
    from kmcl_platform.api.clusters import (
        Findings as Findings,
        SubmittedJob as SubmittedJob,
        doctor as doctor,
        open_jobs as open_jobs,
        serve_ui as serve_ui,
        stop_job as stop_job,
        submit as submit,
        submit_to_slurm as submit_to_slurm,
    )
    from kmcl_platform.api.datasets import (
        DataCheck as DataCheck,
        Dataset as Dataset,
        check_data as check_data,
        describe_data as describe_data,
        import_data as import_data,
        pack_data as pack_data,
    )
    from kmcl_platform.api.first_files import (
        FirstFile as FirstFile,
        init as init,
    )
    from kmcl_platform.api.leaderboards import (
        SearchTrials as SearchTrials,
    )
    from kmcl_platform.api.open_searches import (
        open_search as open_search,
    )
    from kmcl_platform.api.pages import (
        Report as Report,
    )
    from kmcl_platform.api.plans import (
        Plans as Plans,
        plan as plan,
    )
    from kmcl_platform.api.registered import (
        Champion as Champion,
        ExportedModel as ExportedModel,
        WrittenPredictions as WrittenPredictions,
        export_onnx as export_onnx,
        history as history,
        predict as predict,
        predict_to_file as predict_to_file,
        promote as promote,
        rollback as rollback,
    )
    from kmcl_platform.api.searches import (
        SearchInterrupted as SearchInterrupted,
        SearchResult as SearchResult,
        resume as resume,
        search as search,
        train as train,
    )
    from kmcl_platform.api.store import (
        Store as Store,
    )
    from kmcl_platform.components.readers.reading import (
        list_readers as list_readers,
    )
    from kmcl_platform.components.samplers.gp import GaussianProcess as GaussianProcess
    from kmcl_platform.components.samplers.grid import Grid as Grid
    from kmcl_platform.components.samplers.qmc import QuasiMonteCarlo as QuasiMonteCarlo
    from kmcl_platform.components.samplers.random import Random as Random
    from kmcl_platform.components.samplers.tpe import Tpe as Tpe
    from kmcl_platform.components.schedulers.adaptive import Adaptive as Adaptive
    from kmcl_platform.components.schedulers.hyperband import Hyperband as Hyperband
    from kmcl_platform.components.schedulers.none import NoStopping as NoStopping
    from kmcl_platform.components.schedulers.successive_halving import SuccessiveHalving as SuccessiveHalving
    from kmcl_platform.config.after_search import (
        Decision as Decision,
        Finalists as Finalists,
        Promotion as Promotion,
        Verdict as Verdict,
    )
    from kmcl_platform.config.search_file import (
        SearchFile as SearchFile,
    )
    from kmcl_platform.config.search_file_reader import (
        search_file_schema as search_file_schema,
    )
    from kmcl_platform.config.search_parts import (
        Baseline as Baseline,
        Budget as Budget,
        Objective as Objective,
        Resources as Resources,
    )
    from kmcl_platform.config.space.distributions import (
        Choice as Choice,
        Int as Int,
        LogUniform as LogUniform,
        Uniform as Uniform,
    )
    from kmcl_platform.config.space.prior import (
        Belief as Belief,
        Prior as Prior,
    )
    from kmcl_platform.config.trial_config import (
        TrialConfig as TrialConfig,
    )
    from kmcl_platform.errors import (
        KmclError as KmclError,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
