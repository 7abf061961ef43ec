"""Indexing: scan → plan → load → encode → commit.

:func:`sync` brings the catalogue into line with a source; :func:`add` takes items that a caller holds.
"""

from mmsearch.ingest.items import add
from mmsearch.ingest.options import IngestOptions, Rules, Target
from mmsearch.ingest.sync import sync

__all__ = ["IngestOptions", "Rules", "Target", "add", "sync"]
