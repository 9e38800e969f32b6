"""What a person gets wrong in a candidate is told with the file and the line, and what would be right."""

import subprocess
import sys
import textwrap

import pytest

from replay.candidate.load import load
from replay.errors import CandidateError
from replay.session import run

START = """\
from replay.candidate import *

patch = Candidate("v5.12")
"""

MISTAKES = {
    "unknown base": ('other = Candidate("v9.9")', 4, "unknown profile 'v9.9'"),
    "unknown function": ('patch.remove("pfn_to_onlin_page", "page")', 4, "did you mean pfn_to_online_page"),
    "unknown check": (
        'patch.remove("pfn_to_online_page", "tainted")',
        4,
        "has no check 'tainted' (did you mean untainted",
    ),
    "no place": (
        'patch.insert("pfn_to_online_page", answer=no("x"))(lambda s: s.online)',
        4,
        "give either before= or after=",
    ),
    "wrong answer": ('patch.answer("memory_failure", "not-online", no("x"))', 4, "needed poison_answer(...) or PANIC"),
    "poison answer of a lookup": ('patch.answer("pfn_to_online_page", "page", PANIC)', 4, "needed yes(name), no(name)"),
    "twice": (
        """\
        @patch.insert("pfn_to_online_page", before="page", answer=no("x"))
        def untainted(s):
            return s.online
        """,
        4,
        "would have two checks 'untainted'",
    ),
    "unknown field": (
        """\
        @patch.insert("pfn_to_online_page", before="page", answer=no("x"))
        def new(s):
            return s.tainted
        """,
        6,
        "check new of pfn_to_online_page: AttributeError",
    ),
    "and for &": (
        """\
        @patch.insert("pfn_to_online_page", before="page", answer=no("x"))
        def new(s):
            return s.online and s.taint
        """,
        6,
        "join them with & | ~",
    ),
    "not a boolean": (
        """\
        @patch.insert("pfn_to_online_page", before="page", answer=no("x"))
        def new(s):
            return s.code
        """,
        4,
        "answers with uint16; needed a boolean for each state",
    ),
    "nothing decides": (
        'patch.remove("pfn_to_online_page", "page")\npatch.remove("pfn_to_online_page", "tainted-page")',
        0,
        "decided by no check",
    ),
    "a positive errno": ('patch.answer("online_pages", "isolation", returns(16))', 4, "needed 0 or a negative errno"),
    "it ends the program": ("import sys\nsys.exit(0)", 5, "SystemExit"),
    "a condition ends the program": (
        """\
        @patch.insert("pfn_to_online_page", before="page", answer=no("x"))
        def new(s):
            raise SystemExit(0)
        """,
        6,
        "SystemExit",
    ),
    "error in the file": ("1 / 0", 4, "ZeroDivisionError"),
    "syntax": ("def (:", 4, "SyntaxError"),
    "grain": ('patch.mark("m", grain="folio")', 4, "needed section, subsection or page"),
    "too many marks": ("\n".join(f'patch.mark("m{n}", grain="page")' for n in range(3)), 6, "at most 2"),
    "unknown call": ('patch.on("memremap", "zone")(print)', 4, "did you mean memremap_pages"),
    "unknown phase": ('patch.on("add_memory", "zone")(print)', 4, "add_memory has no phase 'zone'"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_told_with_their_line(mistake, tmp_path):
    code, line, words = MISTAKES[mistake]
    file = tmp_path / "mine.py"
    file.write_text(START + textwrap.dedent(code) + "\n")
    with pytest.raises(CandidateError) as error:
        load(f"{file}:patch")
    assert words in str(error.value)
    assert f"mine.py:{line}:" in str(error.value) if line else "mine.py" in str(error.value)
    assert error.value.exit_code == 2


def test_a_condition_that_fails_during_the_replay_is_told_with_its_line(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(START + '\n@patch.on("add_memory", "done")\ndef hook(now):\n    raise KeyError("gone")\n')
    command = [
        sys.executable,
        "-c",
        "from replay.cli.main import main; main()",
        "run",
        "traces/recorded/6.1.192-s3-hotplug.arrow",
        "-p",
        str(file),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert "mine.py:7: hook on add_memory: KeyError: 'gone'" in found.stderr


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ('patch.remove("add_memory", patch.checks("add_memory")[-1])', "mine.py:patch: add_memory: a state is decided"),
        (
            'm = patch.mark("m", grain="page")\n@patch.on("add_memory", "done")\ndef hook(now):\n    now.set(m, -5, 3)',
            "mine.py:7: hook on add_memory: ValueError: mark 'm' on pfns -0x5",
        ),
        (
            'm = patch.mark("m", grain="page")\n@patch.on("add_memory", "done")\ndef hook(now):\n    now.clear(m, 9, 3)',
            "needed 0 <= start <= end",
        ),
    ],
)
def test_mistakes_that_only_a_call_shows_are_the_candidates(code, words, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(START + code + "\n")
    with pytest.raises(CandidateError, match=r"mine\.py") as error:
        run("traces/recorded/6.1.192-s3-hotplug.arrow", str(file))
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("content", "spec", "words"),
    [
        (None, "", "found no such file"),
        ("x = 1\n", "", "defines no candidate"),
        (START, ":patc", "did you mean patch"),
        (START + 'b = Candidate("v6.1")\n', "", "has several candidates; name one"),
    ],
)
def test_files_that_name_no_candidate(content, spec, words, tmp_path):
    file = tmp_path / "mine.py"
    if content is not None:
        file.write_text(content)
    with pytest.raises(CandidateError, match=r"mine\.py") as error:
        load(f"{file}{spec}")
    assert words in str(error.value)


def test_one_called_candidate_is_taken_of_several(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(START + 'candidate = Candidate("v6.1")\n')
    assert load(str(file)).name.endswith("mine.py:candidate")
