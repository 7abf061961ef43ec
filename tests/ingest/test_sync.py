"""A folder and its catalogue: after every sync the two agree, and no bytes are encoded twice."""

from __future__ import annotations

import os
import shutil
import threading

import numpy as np
import pytest

import mmsearch as mm
from mmsearch.ingest import IngestOptions
from mmsearch.ingest.plan import Known, Spool

HERE = IngestOptions(workers=0, batch_size=4)


def rows_of(collection, ids):
    with collection._store.snapshot() as snapshot:
        found = snapshot.by_id(ids)
        return {id: snapshot.fetch([record.vid])[0] for id, record in found.items()}


def counts(report):
    return (report.added, report.updated, report.moved, report.removed, report.unchanged, len(report.skipped))


@pytest.fixture
def photos(tmp_path, paint):
    for name, colour in [("a.png", "red"), ("b.png", "blue"), ("trip/c.png", "green"), ("trip/d.png", "yellow")]:
        paint(f"photos/{name}", colour)
    return tmp_path / "photos"


def sync(shop, photos, **options):
    return shop.sync(mm.Folder(photos), options=HERE, **options)


def test_a_folder_is_indexed_and_every_row_is_the_encoders(shop, toy, photos):
    assert counts(sync(shop, photos)) == (4, 0, 0, 0, 0, 0)
    rows = rows_of(shop, ["a.png", "trip/c.png"])
    for id, row in rows.items():
        from PIL import Image

        expected = toy.encode_images([toy.preparer(Image.open(photos / id))])[0]
        np.testing.assert_allclose(row, expected, atol=1e-3)
    record = shop.get("trip/c.png")
    stat = (photos / "trip/c.png").stat()
    assert (record.width, record.height, record.size, record.mtime_ns) == (40, 30, stat.st_size, stat.st_mtime_ns)
    assert shop.locate(record) == str(photos / "trip/c.png")


def test_an_unchanged_folder_is_not_read_again(shop, toy, photos):
    sync(shop, photos)
    before = toy.images_encoded
    assert counts(sync(shop, photos)) == (0, 0, 0, 0, 4, 0)
    assert toy.images_encoded == before


def test_changed_moved_copied_and_gone_files(shop, toy, photos, paint):
    sync(shop, photos)
    vids = {id: shop.get(id).vid for id in ("a.png", "b.png", "trip/c.png")}
    before = toy.images_encoded
    paint("photos/a.png", "purple")  # changed
    shutil.move(photos / "b.png", photos / "trip" / "renamed.png")  # moved
    shutil.copy(photos / "trip/c.png", photos / "copy.png")  # copied
    (photos / "trip/d.png").unlink()  # gone
    report = sync(shop, photos)
    assert counts(report) == (1, 1, 1, 1, 1, 0)
    assert report.reused == 1
    assert toy.images_encoded == before + 1
    assert shop.get("trip/renamed.png").vid == vids["b.png"]
    assert shop.get("a.png").vid > vids["a.png"]
    assert "b.png" not in shop
    assert "trip/d.png" not in shop
    rows = rows_of(shop, ["copy.png", "trip/c.png"])
    assert np.array_equal(rows["copy.png"], rows["trip/c.png"])
    assert [hit.id for hit in shop.search("purple", k=1)] == ["a.png"]


def test_a_new_mtime_alone_encodes_nothing(shop, toy, photos):
    sync(shop, photos)
    before, vid = toy.images_encoded, shop.get("a.png").vid
    os.utime(photos / "a.png", ns=(1, 1))
    assert counts(sync(shop, photos)) == (0, 0, 0, 0, 4, 0)
    assert (toy.images_encoded, shop.get("a.png").vid, shop.get("a.png").mtime_ns) == (before, vid, 1)


def test_checksum_sees_what_size_and_mtime_hide(shop, photos, paint):
    sync(shop, photos)
    stat = (photos / "a.png").stat()
    # Another picture of just as many bytes: what follows the end of a PNG is ignored.
    first, other = (photos / "a.png").read_bytes(), paint("other.png", "black").read_bytes()
    assert len(other) <= len(first)
    (photos / "a.png").write_bytes(other.ljust(len(first), b"\0"))
    os.utime(photos / "a.png", ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert counts(sync(shop, photos)) == (0, 0, 0, 0, 4, 0)
    assert counts(sync(shop, photos, checksum=True)) == (0, 1, 0, 0, 3, 0)


def test_ten_copies_of_one_file_are_encoded_once(shop, toy, tmp_path, paint):
    first = paint("photos/0.png", "red")
    for n in range(1, 10):
        shutil.copy(first, first.with_name(f"{n}.png"))
    report = sync(shop, tmp_path / "photos")
    assert (report.added, report.reused, toy.images_encoded) == (10, 9, 1)


def test_a_bad_file_is_named_once_and_tried_again_when_it_changes(shop, photos, paint):
    (photos / "bad.jpg").write_bytes(b"<html>not found</html>")
    report = sync(shop, photos)
    assert [(failure.path, failure.reason) for failure in report.skipped] == [("bad.jpg", "not_image")]
    assert [failure.path for failure in shop.failures()] == ["bad.jpg"]
    again = sync(shop, photos)
    assert (again.skipped, again.skipped_before, again.unchanged) == ((), 1, 4)
    paint("photos/bad.png", "pink").rename(photos / "bad.jpg")
    assert counts(sync(shop, photos)) == (1, 0, 0, 0, 4, 0)
    assert shop.failures() == []


def test_a_file_that_goes_bad_keeps_its_old_row(shop, photos):
    sync(shop, photos)
    row = rows_of(shop, ["a.png"])["a.png"]
    (photos / "a.png").write_bytes((photos / "a.png").read_bytes()[:40])
    report = sync(shop, photos)
    assert [failure.reason for failure in report.skipped] == ["truncated"]
    assert np.array_equal(rows_of(shop, ["a.png"])["a.png"], row)
    assert sync(shop, photos).removed == 0


def test_on_error_raise_stops_at_the_bad_file(shop, photos):
    (photos / "bad.jpg").write_bytes(b"")
    with pytest.raises(mm.InputError, match=r"bad\.jpg") as caught:
        sync(shop, photos, on_error="raise")
    assert caught.value.reason == "not_image"


@pytest.mark.parametrize("how", ["emptied", "missing"])
def test_a_root_that_looks_unmounted_is_never_pruned(shop, photos, how):
    sync(shop, photos)
    shutil.rmtree(photos)
    if how == "emptied":
        photos.mkdir()
        report = sync(shop, photos)
        assert (report.removed, len(shop)) == (0, 4)
        assert "mounted" in report.pruning_refused
    else:
        with pytest.raises(mm.SourceError, match="mounted|cannot read"):
            sync(shop, photos)
        assert len(shop) == 4


def test_a_source_that_cannot_be_read_leaves_no_root_behind(shop, tmp_path):
    with pytest.raises(mm.SourceError):
        sync(shop, tmp_path / "nowhere")
    assert shop.roots() == {}


def test_prune_can_be_switched_off_and_a_dry_run_changes_nothing(shop, photos, paint):
    sync(shop, photos)
    (photos / "a.png").unlink()
    paint("photos/new.png", "orange")
    dry = sync(shop, photos, dry_run=True)
    assert (dry.added, dry.removed, dry.dry_run, len(shop)) == (1, 1, True, 4)
    kept = sync(shop, photos, prune=False)
    assert (kept.added, kept.removed, kept.pruning_refused) == (1, 0, "pruning is off")
    assert len(shop) == 5


def test_a_folder_below_a_root_is_a_part_of_it(shop, photos):
    sync(shop, photos)
    (photos / "trip/d.png").unlink()
    (photos / "a.png").unlink()
    report = sync(shop, photos / "trip")
    assert counts(report) == (0, 0, 0, 1, 1, 0)
    assert "a.png" in shop
    assert shop.roots() == {"photos": str(photos)}


def test_a_folder_above_a_root_is_refused(shop, photos, tmp_path):
    sync(shop, photos)
    with pytest.raises(mm.UsageError, match="indexed already"):
        sync(shop, tmp_path)


def test_two_roots_may_hold_the_same_names(shop, photos, paint, tmp_path):
    paint("more/a.png", "orange")
    sync(shop, photos)
    assert counts(sync(shop, tmp_path / "more")) == (1, 0, 0, 0, 0, 0)
    assert counts(sync(shop, tmp_path / "more")) == (0, 0, 0, 0, 1, 0)
    assert "more/a.png" in shop
    assert counts(sync(shop, photos)) == (0, 0, 0, 0, 4, 0)
    shop.remove_root("more")
    assert len(shop) == 4


def test_a_moved_root_is_found_by_its_new_place(shop, photos, tmp_path):
    sync(shop, photos)
    photos.rename(tmp_path / "elsewhere")
    shop.move_root("photos", tmp_path / "elsewhere")
    assert shop.search("red", k=1)[0].path == str(tmp_path / "elsewhere" / "a.png")
    assert counts(sync(shop, tmp_path / "elsewhere")) == (0, 0, 0, 0, 4, 0)


def test_a_manifest_beside_a_folder_keeps_its_own_items(shop, photos):
    (photos / "list.csv").write_text("id,image,price\nsku-1,a.png,5\nsku-2,trip/c.png,7\n")
    assert sync(shop, photos).added == 4
    manifest = mm.Manifest(photos / "list.csv")
    assert counts(shop.sync(manifest, options=HERE)) == (2, 0, 0, 0, 0, 0)
    for _ in range(2):
        assert counts(sync(shop, photos)) == (0, 0, 0, 0, 4, 0)
        assert counts(shop.sync(manifest, options=HERE)) == (0, 0, 0, 0, 2, 0)
    assert shop.roots() == {"photos": str(photos), "list.csv": str(photos)}
    assert shop.get("sku-1").meta == {"price": 5}
    (photos / "list.csv").write_text("id,image,price\nsku-1,a.png,6\n")
    assert counts(shop.sync(manifest, options=HERE)) == (0, 1, 0, 1, 0, 0)
    assert (shop.get("sku-1").meta, len(shop)) == ({"price": 6}, 5)


def test_a_failure_is_forgotten_with_its_file(shop, photos):
    (photos / "bad.jpg").write_bytes(b"no picture")
    sync(shop, photos)
    assert len(shop.failures()) == 1
    (photos / "bad.jpg").unlink()
    sync(shop, photos)
    assert shop.failures() == []


def test_texts_are_items_too_and_an_empty_one_is_named(shop, photos):
    (photos / "note.txt").write_text("a green boat")
    (photos / "nothing.md").write_text(" \n")
    report = sync(shop, photos)
    assert (report.added, [f.reason for f in report.skipped]) == (5, ["empty"])
    assert shop.search("green", kind="text")[0].text == "a green boat"


def test_captions_beside_photos_follow_their_changes(shop, photos):
    source = mm.Folder(photos, captions="sidecar")
    (photos / "a.txt").write_text("a red door")
    shop.sync(source, options=HERE)
    hit = shop.search("red door", kind="text")[0]
    assert (hit.text, hit.group, shop.get("a.png").group) == ("a red door", "a.png", "a.png")
    (photos / "a.txt").write_text("a red gate")
    report = shop.sync(source, options=HERE)
    assert (report.updated, report.added, report.removed) == (1, 0, 0)
    assert shop.search("red gate", kind="text")[0].text == "a red gate"


def test_an_interrupt_keeps_what_is_committed_and_the_next_run_goes_on(shop, tmp_path, toy, paint):
    threads = threading.active_count()
    for n in range(40):
        paint(f"photos/{n:02}.png", "red", shade=n)

    def interrupt(progress):
        if progress.stage == "index" and progress.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sync(shop, tmp_path / "photos", progress=interrupt)
    done = len(shop)
    assert 8 <= done < 40
    encoded = toy.images_encoded
    report = sync(shop, tmp_path / "photos")
    assert (report.added, report.unchanged, len(shop)) == (40 - done, done, 40)
    # What was encoded and not committed was in flight: at most the two queues and a batch.
    assert toy.images_encoded <= encoded + 40 - done
    assert threading.active_count() <= threads
    assert all(finding.level == "ok" for finding in shop.verify())


def test_an_error_of_the_encoder_reaches_the_caller(shop, photos, toy, monkeypatch):
    def broken(batch):
        raise mm.ModelError("out of order")

    monkeypatch.setattr(toy, "encode_images", broken)
    with pytest.raises(mm.ModelError, match="out of order"):
        sync(shop, photos)
    assert len(shop) == 0


def test_progress_counts_up_to_the_total(shop, photos):
    seen = []
    sync(shop, photos, progress=seen.append)
    assert [p.stage for p in seen][0] == "scan"
    assert (seen[-1].done, seen[-1].total, seen[-1].stage) == (4, 4, "index")


def test_the_spool_keeps_any_name():
    from mmsearch.ingest.plan import Action, Pending
    from mmsearch.types import Asset, Kind

    spool = Spool()
    odd = Asset("a\udce9\n.jpg", Kind.IMAGE, "a\udce9\n.jpg", 1, 2, None, None, {"é": [1, None]})
    spool.put(Pending(Action.CHANGED, odd, 7, b"\x00\xff", {"camera": "x"}))
    assert list(spool) == [Pending(Action.CHANGED, odd, 7, b"\x00\xff", {"camera": "x"})]
    spool.close()


def test_known_items_take_few_bytes(shop, photos):
    sync(shop, photos)
    with shop._store.snapshot() as snapshot:
        known = Known(snapshot, "photos", "")
    arrays = [value for value in vars(known).values() if isinstance(value, np.ndarray)]
    assert sum(array.nbytes for array in arrays) <= 20 * len(known)
