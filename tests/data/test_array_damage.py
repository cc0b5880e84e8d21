"""Mapped arrays with damaged parts or records: neither length nor date is trusted."""

import json
import os
from pathlib import Path

import pytest
from test_image_array import IMAGE_BYTES, IMAGES, build, files, in_another_process, killed_at, no_reading


def test_what_was_built_is_not_trusted_by_its_length(tmp_path: Path) -> None:
    expected = {split: bank.sha256() for split, bank in build(tmp_path / "whole").items()}
    for damage in ("image", "header", "sum", "no sums"):
        cache = tmp_path / damage
        in_another_process(killed_at, 12, cache)
        (part,), (sums,) = cache.glob("*.part"), cache.glob("*.crc")
        content = bytearray(part.read_bytes())
        assert len(content) == 128 + 12 * IMAGE_BYTES and sums.stat().st_size == 12 * 4
        starts: list[int] = []
        if damage == "no sums":
            sums.unlink()
        elif damage == "sum":
            sums.write_bytes(sums.read_bytes()[: 5 * 4] + b"rubbish")
        else:
            content[128 + 5 * IMAGE_BYTES if damage == "image" else 20] ^= 1
            part.write_bytes(content)
        banks = build(cache, lambda start, starts=starts: starts.append(start) or iter(IMAGES[start:]))
        assert starts == [5 if damage in ("image", "sum") else 0]
        assert {split: bank.sha256() for split, bank in banks.items()} == expected
        assert files(cache) == [".json", ".npy"]


def test_a_record_of_other_hashes_is_not_believed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = {split: bank.sha256() for split, bank in build(tmp_path).items()}
    (record,) = tmp_path.glob("*.json")
    held = json.loads(record.read_text())
    held["sha256"]["test"] = "0" * 64
    record.write_text(json.dumps(held))
    assert {split: bank.sha256() for split, bank in build(tmp_path).items()} == expected
    assert f"or its record {record.name}, is damaged; building it again" in caplog.text
    # Earlier versions lack the checksum; the record is right if the content is.
    del held["checksum"]
    record.write_text(json.dumps(held | {"sha256": expected}))
    assert {split: bank.sha256() for split, bank in build(tmp_path, no_reading).items()} == expected


def test_a_flipped_bit_is_found_though_size_and_date_are_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    expected = {split: bank.sha256() for split, bank in build(tmp_path).items()}
    (array,) = tmp_path.glob("*.npy")
    before, content = array.stat(), bytearray(array.read_bytes())
    content[-7] ^= 4
    array.write_bytes(content)
    os.utime(array, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert {split: bank.sha256() for split, bank in build(tmp_path).items()} == expected
    assert "is damaged; building it again" in caplog.text
