"""Bring the catalogue into line with a source: add, update, move, remove."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from mmsearch.ingest.options import IngestOptions, Rules, Target
from mmsearch.ingest.parcel import Sorter
from mmsearch.ingest.pipeline import Pipeline, Stages, Tally
from mmsearch.ingest.plan import Action, Known, Plan, make_plan
from mmsearch.protocols import Source
from mmsearch.store import Change
from mmsearch.types import Asset, Failure, IngestReport, Progress

DELETE_BLOCK = 10_000
FEW = 8
"""Up to this many pending images are decoded in this process: starting workers would take longer."""


def sync(
    source: Source, target: Target, *, root: str, prefix: str, rules: Rules, options: IngestOptions
) -> IngestReport:
    """Index what ``source`` has, under the root named ``root``; ids begin with ``prefix``.

    The root is recorded once the source has been read through. Raises :class:`SourceError` before anything is changed
    where the source cannot be read. An unchanged tree costs about 3 µs a file beside listing it.
    """
    began = time.monotonic()
    plan = _plan(source, target, root, prefix, rules.checksum, began)
    gone = plan.known.gone().tolist()
    refused = _why_not_prune(source, plan, rules) if gone else None
    if refused:  # what may still be there can be copied, but not moved or removed
        gone = []
    problems = tuple(replace(problem, root=root) for problem in getattr(source, "problems", ()))
    try:
        if target.writer is None:
            return _dry_report(plan, problems, gone, refused, time.monotonic() - began)
        target.record_root(target.writer)
        sorter = Sorter(root, gone)
        tally = _run(plan, source, target, sorter, rules, options) if plan.pending.total else Tally()
    finally:
        plan.pending.close()
    skipped = tuple(tally.skipped) + problems
    stale = set(plan.known.stale_failures()) - {failure.path for failure in skipped} if source.complete else set()
    if problems or stale:
        target.writer.commit(Change(failures=problems, forgiven=[(root, path) for path in sorted(stale)]))
    removed = sorter.still_gone()
    for start in range(0, len(removed), DELETE_BLOCK):
        target.writer.commit(Change(deletes=removed[start : start + DELETE_BLOCK]))
    return IngestReport(
        added=tally.added,
        updated=tally.updated,
        moved=tally.moved,
        removed=len(removed),
        unchanged=plan.unchanged + tally.touched,
        reused=tally.reused,
        skipped=skipped,
        skipped_before=plan.failed_before,
        pruning_refused=refused,
        seconds=time.monotonic() - began,
        stages={"decode": tally.decode, "encode": tally.encode, "commit": tally.commit},
        bottleneck=bottleneck(tally),
    )


def _plan(source: Source, target: Target, root: str, prefix: str, checksum: bool, began: float) -> Plan:
    def tick(scanned: int) -> None:
        if target.progress is not None:
            rate = scanned / max(time.monotonic() - began, 1e-9)
            target.progress(Progress(scanned, None, 0, "scan", rate, {}))

    with target.store.snapshot() as snapshot:
        known = Known(snapshot, root, source.scope)
        assets = source.scan() if not prefix else _prefixed(source, prefix)
        return make_plan(assets, snapshot, known, root=root, checksum=checksum, tick=tick)


def _prefixed(source: Source, prefix: str) -> Iterator[Asset]:
    for asset in source.scan():
        group = None if asset.group is None else prefix + asset.group
        yield asset._replace(id=prefix + asset.id, group=group)


def _run(plan: Plan, source: Source, target: Target, sorter: Sorter, rules: Rules, options: IngestOptions) -> Tally:
    assert target.writer is not None
    encoder = target.encoder()
    with options.loader(encoder, few=plan.pending.total <= FEW) as loader:
        stages = Stages(source, loader, encoder, target.store, target.writer, sorter, options.batch_for(encoder))
        pipeline = Pipeline(stages, raise_errors=rules.on_error == "raise", progress=target.progress)
        return pipeline.run(plan.pending, plan.pending.total)


def _why_not_prune(source: Source, plan: Plan, rules: Rules) -> str | None:
    """Why items whose file was not seen stay in the catalogue; ``None`` when they may go."""
    if not rules.prune:
        return "pruning is off"
    if plan.scanned == 0:
        return "nothing was found there: is the disk mounted?"
    if not source.complete:
        return "not all of it could be listed"
    return None


def _dry_report(
    plan: Plan, problems: tuple[Failure, ...], gone: list[int], refused: str | None, seconds: float
) -> IngestReport:
    actions = [pending.action for pending in plan.pending]
    new = sum(action is Action.NEW for action in actions)
    return IngestReport(
        added=new,
        updated=len(actions) - new,
        removed=len(gone),
        unchanged=plan.unchanged,
        skipped=problems,
        skipped_before=plan.failed_before,
        pruning_refused=refused,
        seconds=seconds,
        dry_run=True,
    )


def bottleneck(tally: Tally) -> str | None:
    """Which stage the others waited for: ``decode``, ``encode``, or ``None`` where nothing was encoded."""
    if not tally.encode:
        return None
    return "decode" if tally.starved > 0.1 * (tally.encode + tally.starved) else "encode"
