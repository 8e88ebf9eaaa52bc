"""The version of all packages, for who needs it without the rest of `bench`; the installation reads it here too."""

__version__ = "0.1.0"
