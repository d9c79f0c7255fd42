"""The platform's own components, each in one file; `kmcl_platform.plugins` registers them like those of users."""
