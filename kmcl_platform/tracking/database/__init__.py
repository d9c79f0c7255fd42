"""MLflow's store as a database: open it, read and write it, find the errors that it causes."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.tracking.database.addresses import (
        artifact_location as artifact_location,
        check_answers as check_answers,
        is_server as is_server,
        store_name as store_name,
    )
    from kmcl_platform.tracking.database.http_retries import (
        again_if_cut_off as again_if_cut_off,
    )
    from kmcl_platform.tracking.database.mlflow_store import (
        as_default as as_default,
        connect as connect,
        connect_to_read as connect_to_read,
        load_mlflow as load_mlflow,
        locked as locked,
        prepare_store as prepare_store,
    )
    from kmcl_platform.tracking.database.run_requests import (
        find_runs as find_runs,
        write as write,
        write_steps as write_steps,
    )
    from kmcl_platform.tracking.database.store_errors import (
        find_trouble as find_trouble,
    )
    from kmcl_platform.tracking.database.ui_urls import (
        model_url as model_url,
        run_table_url as run_table_url,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
