"""Collections as single files, and vectors that were made elsewhere. The format stands in ``docs/archive.md``."""

from __future__ import annotations

from mmsearch.backup.elsewhere import Claim, import_vectors
from mmsearch.backup.exporting import ExportReport, export
from mmsearch.backup.restoring import ImportReport, restore

__all__ = ["Claim", "ExportReport", "ImportReport", "export", "import_vectors", "restore"]
