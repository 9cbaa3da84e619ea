"""What notebooks see."""

import uuid
import xml.etree.ElementTree as ET

import pytest
from conftest import BASE, scored_rows

from firekeep import LLM, Curve, Dataset

SVG = "{http://www.w3.org/2000/svg}"


def test_a_curve_is_whole_svg():
    curve = Curve("reward <mean>", title="a & b")
    assert "no points" in curve._repr_html_()
    for n, y in enumerate([0.1, 0.4, 0.35, 0.8]):
        curve.add(n, y)
    picture = ET.fromstring(curve.svg())
    (line,) = picture.iter(SVG + "polyline")
    spots = [tuple(map(float, spot.split(","))) for spot in line.get("points").split()]
    assert [x for x, _ in spots] == sorted(x for x, _ in spots) and len(spots) == 4
    heights = [y for _, y in spots]
    assert heights.index(min(heights)) == 3 and heights.index(max(heights)) == 0  # SVG counts from the top
    assert "reward <mean>" in "".join(picture.itertext()) and "last 0.8" in repr(curve)
    with pytest.raises(ValueError, match="finite"):
        curve.add(5, float("nan"))


def test_a_flat_curve_and_one_point(tmp_path):
    for points in ([(1, 0.0)], [(1, 2.0), (2, 2.0)]):
        curve = Curve("loss")
        for x, y in points:
            curve.add(x, y)
        curve.save(tmp_path / "loss.svg")
        ET.parse(tmp_path / "loss.svg")
        assert curve.figure().axes[0].get_ylabel() == "loss"


def test_the_curve_of_a_step(server, client):
    llm = LLM(BASE)
    assert repr(llm) == f"LLM({BASE!r})"  # a repr asks nobody
    job = llm.reinforcement_step(Dataset.from_list(scored_rows(4), id=f"d-{uuid.uuid4().hex[:8]}"), f"m-{uuid.uuid4().hex[:8]}", batch_size_samples=4)
    assert "base, context" in repr(llm)
    grown = job.plot(live=True, poll=0.05)
    done = job.get()
    assert grown.points == done.plot().points and len(grown.points) == 4
    assert [y for _, y in done.plot("loss").points] == [m["loss"] for m in done.metrics()]
    assert "COMPLETED" in done._repr_html_() and done.progress == 100
    new = LLM(done.output_model)
    new.apply()
    assert f"LoRA of rank 16 on {BASE}" in repr(new)
