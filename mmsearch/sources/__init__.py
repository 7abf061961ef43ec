"""Where items come from: adapters of the :class:`~mmsearch.protocols.Source` seam.

============== ======================================================= ===========================
source         yields                                                  can say that a file is gone
============== ======================================================= ===========================
Folder         images and texts of a folder, captions beside images    yes
FileList       the named files                                         no
Manifest       the rows of a CSV, JSONL or Parquet file                yes
CocoCaptions   images and captions of a COCO caption file              yes
============== ======================================================= ===========================

All of them also have ``locate(asset)``, the absolute path of the file that holds an asset's bytes (``None`` where the
source holds the text itself), and ``problems``, what the last scan could not use and why.
"""

from __future__ import annotations

from mmsearch.sources.coco import CocoCaptions
from mmsearch.sources.filelist import FileList
from mmsearch.sources.folder import Folder
from mmsearch.sources.manifest import Manifest
from mmsearch.texts import decode_text

__all__ = ["CocoCaptions", "FileList", "Folder", "Manifest", "decode_text"]
