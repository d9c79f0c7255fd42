"""Files on this machine: written whole or not at all, locked between processes, read as YAML."""
