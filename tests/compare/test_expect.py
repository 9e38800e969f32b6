"""Files of accepted differences: what was accepted, and nothing that only looks like it."""

import json

import pytest

from replay.compare import expect
from replay.compare.causes import Cause, Verdict
from replay.compare.expect import read_expected, write_expected
from replay.errors import InputError

BEFORE = Verdict("dax", "dax page: Recovered", "dax page: Recovered, returns 0, HWPoison")
AFTER = Verdict("dax-entry-lock", "dax page: Failed", "dax page: Failed, returns -EBUSY")
ACCEPTED = Cause("memory_failure", BEFORE, AFTER, calls=3)


@pytest.fixture
def accepted(tmp_path):
    path = tmp_path / "accepted.json"
    write_expected(path, [ACCEPTED])
    return path


@pytest.mark.parametrize(
    "other",
    [
        Cause("soft_offline_page", BEFORE, AFTER),
        Cause("memory_failure", BEFORE._replace(check="dax-again"), AFTER),
        Cause("memory_failure", BEFORE, AFTER._replace(check="dax")),
        Cause("memory_failure", BEFORE._replace(yes="dax page: Recovered, returns 0"), AFTER),
        Cause("memory_failure", BEFORE, AFTER._replace(yes="dax page: Failed, returns -EBUSY, 2 signalled")),
        Cause("memory_failure", AFTER, BEFORE),
    ],
)
def test_another_rule_or_an_answer_that_only_begins_alike_is_not_accepted(accepted, other):
    expected = read_expected(accepted)
    assert ACCEPTED in expected
    assert other not in expected
    assert len(expected.unseen([other])) == 1
    assert expected.unseen([other, ACCEPTED]) == []


def test_a_no_is_not_taken_for_a_yes_of_the_same_name(tmp_path):
    """Whoever writes a candidate names answers."""
    no, yes = (Cause("pfn_valid", Verdict("a", "x", "1"), Verdict("mine", "mine", value)) for value in "01")
    write_expected(tmp_path / "a.json", [no])
    expected = read_expected(tmp_path / "a.json")
    assert no in expected
    assert yes not in expected


def test_the_file_can_be_read(accepted):
    assert json.loads(accepted.read_text()) == {
        "version": 2,
        "differences": [
            {
                "function": "memory_failure",
                "baseline_check": "dax",
                "baseline_answer": "dax page: Recovered, returns 0, HWPoison",
                "candidate_check": "dax-entry-lock",
                "candidate_answer": "dax page: Failed, returns -EBUSY",
                "calls": 3,
            }
        ],
    }


@pytest.mark.parametrize(
    ("version", "words"), [(1, "names answers in short"), (3, "found version 3; needed version 2"), (None, "version 2")]
)
def test_files_of_other_versions_are_refused(accepted, version, words):
    content = json.loads(accepted.read_text())
    accepted.write_text(json.dumps(content | {"version": version}))
    with pytest.raises(InputError, match=words) as error:
        read_expected(accepted)
    assert "--write-expect" in str(error.value)


def test_a_file_without_end_is_not_read_to_the_end(accepted, monkeypatch):
    monkeypatch.setattr(expect, "_MOST", 100)
    with pytest.raises(InputError, match="more than 100 characters"):
        read_expected(accepted)
