"""Lists of views from CSV and JSON: the same poses from both, and one sentence for what is none."""

import json

import pytest

from gan2shape.core.errors import UserError
from gan2shape.edit.controls import LIGHTS, Pose
from gan2shape.edit.view_lists import read_views

CSV = """name,yaw_deg,pitch_deg,light,lx,ly,ambient
front,,,,,,
side,30,-5,,,,0.3
lit,-30,,left,,,
own,0,,,0.2,-0.6,
"""
ROWS = [
    {"name": "front"},
    {"name": "side", "yaw_deg": 30, "pitch_deg": -5, "ambient": 0.3},
    {"name": "lit", "yaw_deg": -30, "light": "left"},
    {"name": "own", "lx": 0.2, "ly": -0.6},
]


def test_csv_and_json_say_the_same(tmp_path) -> None:
    (tmp_path / "views.csv").write_text(CSV)
    (tmp_path / "views.json").write_text(json.dumps(ROWS))
    default = Pose(direction=(0.0, -1.0))
    found = read_views(tmp_path / "views.csv", default)
    assert found == read_views(tmp_path / "views.json", default)
    assert found == [
        ("front", default),
        ("side", Pose(yaw_deg=30.0, pitch_deg=-5.0, ambient=0.3, direction=(0.0, -1.0))),
        ("lit", Pose(yaw_deg=-30.0, direction=LIGHTS["left"])),
        ("own", Pose(direction=(0.2, -0.6))),
    ]


def test_rows_without_names_count_up(tmp_path) -> None:
    (tmp_path / "v.csv").write_text("\ufeffyaw_deg\n0\n10\n", encoding="utf-8")  # as spreadsheets write it
    assert [name for name, _ in read_views(tmp_path / "v.csv")] == ["0000", "0001"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[]", "0 views"),
        ("{", "cannot be read"),
        ('{"yaw_deg": 1}', "no list of views"),
        ('[{"yaw": 1}]', "unknown column, 'yaw'"),
        ('[{"yaw_deg": "far"}]', "View 1 .*no number"),
        ('[{"yaw_deg": 0}, {"yaw_deg": 200}]', "View 2 .*too far"),
        ('[{"lx": 1}]', "give both"),
        ('[{"light": "left", "lx": 1, "ly": 0}]', "exclude each other"),
        ('[{"name": "../up"}]', "cannot be a file's"),
        ('[{"name": ".."}]', "cannot be a file's"),
        ('[{"name": "a"}, {"name": "a"}]', "twice"),
    ],
)
def test_what_is_no_list_is_refused(text: str, message: str, tmp_path) -> None:
    (tmp_path / "v.json").write_text(text)
    with pytest.raises(UserError, match=message):
        read_views(tmp_path / "v.json")
