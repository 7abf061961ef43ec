"""Conformance suites: subclass the one of your seam, and pytest proves that your adapter keeps the contract."""
