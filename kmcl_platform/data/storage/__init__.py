"""Files in folders and object stores, and the shards that are read from them."""

from typing import TYPE_CHECKING

from kmcl_platform.lazy_exports import lazy_exports

if TYPE_CHECKING:
    from kmcl_platform.data.storage.byte_sizes import (
        parse_size as parse_size,
    )
    from kmcl_platform.data.storage.location import (
        Location as Location,
        parse_location as parse_location,
    )
    from kmcl_platform.data.storage.object_store import (
        exists as exists,
        new_file as new_file,
        one_line as one_line,
        read_file as read_file,
        remove_file as remove_file,
    )
    from kmcl_platform.data.storage.shard_index import (
        Packing as Packing,
        Shard as Shard,
        locate as locate,
        read_packing as read_packing,
        to_facts as to_facts,
    )
    from kmcl_platform.data.storage.shard_reader import (
        BUFFER_GROUPS as BUFFER_GROUPS,
        ShardReader as ShardReader,
    )

__getattr__, __all__ = lazy_exports(__name__, __file__)
