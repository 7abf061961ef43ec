"""The recipe that makes `mini`, our own small CLIP, from random initialisation.

Run it with ``python -m mmsearch.training.mini --data DIR --out DIR``. One idea per file: `data` (pictures to arrays),
`views` (fixed crops), `teacher` (targets from a frozen ImageNet network), `text` (tokens), `losses`, `towers` (the model),
`stage_text`, `stage_image` and `stage_joint` (what is optimised when), `evaluate` (recall), `export` (files that ship).

Only `mini` reads the command line and writes to a logger; the rest are plain functions that raise.
"""
