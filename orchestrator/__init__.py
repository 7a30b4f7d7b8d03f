"""A supervisor for slow, paid, flaky commands over many items. See docs/architecture.md."""

__version__ = "0.1.0"
