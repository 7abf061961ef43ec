"""The recipe that makes `mini`, our own small CLIP, from random initialisation.

Run it with ``python -m mmsearch.training.mini --data DIR --out DIR``. One idea per file: `data` (pictures to arrays),
`views` (fixed crops), `teacher` (targets from a frozen ImageNet network), `captions` (wordings to tokens),
`losses`, `towers` (the model), `stage_text`, `stage_image` and `stage_joint` (what is optimised when), `optim` (schedule, average,
checkpoints), `parallel` (threads), `evaluate` (recall), `report` (what is measured), `export` (files that ship).

Only `mini` reads the command line and writes to a logger; the rest are plain functions that raise.
"""
