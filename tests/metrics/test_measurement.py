"""A number is its protocol: strings, hashes, files, and the refusal to compare."""

from __future__ import annotations

import dataclasses
import json

import pytest

from flipbook.metrics.measurement import Fingerprint, IncomparableNumbers, Measurement, compare
from flipbook.metrics.protocols import PROTOCOLS, SetProtocol, protocol_fields

FIELDS = {"extractor": "ab" * 32, "clips": 8, "frames": 16, "size": "64x64", "resize": "squash-bilinear", "estimator": "frechet"}


def measurement(value=1.0, width=0.1, **changed):
    fingerprint = Fingerprint("world-features", FIELDS | changed)
    return Measurement(value=value, low=value - width, high=value + width, floor=0.2, fingerprint=fingerprint)


@pytest.mark.parametrize("name", FIELDS)
def test_changing_any_field_changes_string_and_hash_and_forbids_the_comparison(name):
    a, b = measurement(), measurement(**{name: "other"})
    assert a.fingerprint.hash != b.fingerprint.hash
    assert str(a.fingerprint) != str(b.fingerprint)
    with pytest.raises(IncomparableNumbers, match=f"{name}: .* against other"):
        compare(a, b)


def test_the_refusal_lists_everything_that_differs_and_nothing_else():
    with pytest.raises(IncomparableNumbers) as refused:
        compare(measurement(), measurement(frames=128, size="32x32"))
    assert "frames: 16 against 128; size: 64x64 against 32x32" in str(refused.value)
    assert "estimator" not in str(refused.value)


def test_a_field_that_only_one_side_knows_is_a_difference():
    with pytest.raises(IncomparableNumbers, match="codec: None against h264"):
        compare(measurement(), measurement(codec="h264"))


def test_numbers_of_two_metrics_are_not_compared():
    other = dataclasses.replace(measurement(), fingerprint=Fingerprint("fvd", FIELDS))
    assert other.fingerprint.hash != measurement().fingerprint.hash
    with pytest.raises(IncomparableNumbers, match="metric: world-features against fvd"):
        compare(measurement(), other)


def test_the_order_of_fields_does_not_matter():
    turned = Fingerprint("world-features", dict(reversed(FIELDS.items())))
    assert turned.hash == Fingerprint("world-features", FIELDS).hash


def test_the_better_one_is_named_only_when_the_intervals_are_apart():
    near, far = compare(measurement(1.0), measurement(1.1)), compare(measurement(1.0), measurement(2.0))
    assert (near.better, near.apart) == (None, False)
    assert (far.better, far.apart, far.difference) == ("a", True, 1.0)
    up = [dataclasses.replace(measurement(v), higher_is_better=True) for v in (1.0, 2.0)]
    assert compare(*up).better == "b"


def test_a_measurement_comes_back_from_its_file_and_an_edited_protocol_is_noticed(tmp_path):
    path = measurement().write(tmp_path / "a.json")
    assert Measurement.read(path) == measurement()
    record = json.loads(path.read_text())
    record["protocol"]["frames"] = 128
    path.write_text(json.dumps(record))
    with pytest.raises(ValueError, match="Measure again"):
        Measurement.read(path)
    path.write_text("{}")
    with pytest.raises(ValueError, match="is not a measurement"):
        Measurement.read(path)


def test_value_interval_floor_and_protocol_stand_in_one_line():
    line = str(measurement())
    assert line.startswith("world-features(extractor=abababab, clips=8, frames=16")
    assert "real against real 0.2" in line


def test_no_two_protocols_have_one_fingerprint():
    seen = {Fingerprint("fvd", protocol_fields(p)).hash: name for name, p in PROTOCOLS.items() if p.repeat_fakes is False}
    assert len(seen) == len([p for p in PROTOCOLS.values() if not p.repeat_fakes])


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(SetProtocol) if f.name not in ("name", "source")])
def test_every_field_of_a_protocol_that_moves_a_number_is_in_its_fingerprint(field):
    """drop_short and repeat_fakes decide which clips there are, and the clips have a hash of their own."""
    changed = dataclasses.replace(PROTOCOLS["world-features"], **{field: "other"})
    differs = protocol_fields(changed) != protocol_fields(PROTOCOLS["world-features"])
    assert differs == (field not in ("drop_short", "repeat_fakes"))
