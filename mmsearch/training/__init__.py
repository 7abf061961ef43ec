"""The recipe that makes `mini`, our own small CLIP, from random initialisation.

Run it with ``python -m mmsearch.training.mini --data DIR --out DIR``. One idea per file: `data` (pictures to arrays), `views`
(fixed crops), `mixes` (two pictures in one), `teacher` (targets from a frozen ImageNet network), `captions` (wordings to tokens),
`labels` (names as captions), `losses`, `towers` (the model), `stage_text`, `stage_image` and `stage_joint` (what is learned when),
`optim` and `muon` (schedule, average, checkpoints), `parallel` (threads), `evaluate` (recall), `checks` (recall after each stage),
`report` (what is measured), `plot`, `export` (files that ship), `pipeline` (the stages in order).

Only `mini` reads the command line and writes to a logger; the rest are plain functions that raise.
"""
