"""``replay compare`` and ``replay explain`` as a person uses them: answers, exit codes, files."""

import json
import shlex
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from replay.trace.header import BootRange
from replay.trace.schema import EventKind
from tests.trace.build import lookup, machine, write

RECORDED = Path("traces/recorded")
COLLISION = RECORDED / "6.1.192-s2a-pmem-collision.arrow"
BROKEN = "examples/candidates/forgets_altmap.py"
QUICK = ("--repeats", "0")


@pytest.fixture
def walk(tmp_path):
    """A device behind RAM in one section, and a walker that crosses both; the answers are those of v5.12."""
    return write(
        tmp_path / "walk.arrow",
        {"kind": EventKind.MEMREMAP_PAGES, "pfn": 0x14000, "nr_pages": 0x4000, "pgmap": 1, "pgmap_type": 1},
        lookup(0x11F00, nr_pages=0x3000, recorded_ret=0),
        lookup(0x9F, recorded_ret=1),
        lookup(0x9F, EventKind.PFN_VALID),
        machine=machine(memory=(BootRange(0x100, 0x12000),), resources=()),
    )


def test_kernels_that_answer_alike_exit_with_0(replay):
    answer = replay("compare", COLLISION, "-b", "v7.2", "-c", "v7.2.13", *QUICK)
    assert answer.code == 0
    assert "no verdict differs in 210,769 calls" in answer.out


def test_the_broken_candidate_is_found_under_one_cause(replay):
    answer = replay("compare", COLLISION, "-b", "v5.12", "-c", BROKEN, "--only-changed", *QUICK, "--json")
    assert answer.code == 1
    data = answer.json["data"]
    assert answer.json["status"] == "differs"
    own = [cause for cause in data["unexpected"] if not cause["follows"]]
    assert [(c["function"], c["baseline"]["check"], c["candidate"]["check"], c["calls"]) for c in own] == [
        ("pgmap_pfn_valid", "metadata", "data", 87)
    ]
    assert own[0]["agrees"] == {"baseline": 87, "candidate": 0}
    assert {c["function"] for c in data["unexpected"] if c["follows"]} == {"memory_failure"}


def test_accepted_differences_do_not_fail_a_build(replay, tmp_path):
    accepted = tmp_path / "accepted.json"
    options = ("-b", "v5.11", "-c", "v5.12", *QUICK)
    assert replay("compare", COLLISION, *options, "--write-expect", accepted).code == 1
    again = replay("compare", COLLISION, *options, "--expect", accepted)
    assert again.code == 0
    assert "of them are expected" in again.out
    some = json.loads(accepted.read_text())
    left_out = some["differences"].pop(0)
    accepted.write_text(json.dumps(some))
    fewer = replay("compare", COLLISION, *options, "--expect", accepted, "--json")
    assert fewer.code == 1
    (fresh,) = fewer.json["data"]["unexpected"]
    assert fresh["function"] == left_out["function"]
    unseen = replay("compare", COLLISION, "-b", "v7.2", "-c", "v7.2.13", "--expect", accepted, *QUICK)
    assert unseen.code == 0
    assert "expected and not seen" in unseen.out


def test_what_fails_can_be_chosen(replay):
    options = (COLLISION, "-b", "v5.11", "-c", "v5.12", *QUICK)
    assert replay("compare", *options, "--fail-on", "any").code == 1
    assert replay("compare", *options, "--fail-on", "none").code == 0
    assert replay("compare", COLLISION, "-b", "v5.11", "-c", "v5.12", "--repeats", "100000").code == 2
    better = replay("compare", RECORDED / "6.1.192-s1-walk-boot.arrow", *options[1:], "--fail-on", "regressions")
    assert better.code == 0  # v5.12 is nearer to the recording everywhere
    worse = (RECORDED / "6.1.192-s1-walk-boot.arrow", "-b", "v5.12", "-c", "v5.11", *QUICK)
    assert replay("compare", *worse, "--fail-on", "regressions").code == 1


def test_differing_calls_are_written_down(replay, tmp_path, walk):
    out = tmp_path / "diff.arrow"
    answer = replay("compare", walk, "-b", "v5.11", "-c", "v7.2", "-o", out, "--json", *QUICK)
    with pa.ipc.open_file(out) as file:
        table = file.read_all()
    found = {}
    for row in table.to_pylist():
        key = row["function"], row["baseline_check"], row["candidate_check"]
        found[key] = found.get(key, 0) + row["calls"]
    told = {
        (c["function"], c["baseline"]["check"], c["candidate"]["check"]): c["calls"]
        for c in answer.json["data"]["unexpected"]
    }
    assert found == told
    assert found
    assert set(table.schema.metadata) >= {b"replay.trace", b"replay.baseline", b"replay.candidate"}
    assert replay("compare", walk, "-b", "v4.18", "-c", "v7.2", "-o", walk, *QUICK).code == 2


def test_workers_find_the_same(replay):
    arguments = ("compare", RECORDED / "*walk*.arrow", "-b", "v5.12", "-c", f"{BROKEN}:broken", "--json", *QUICK)
    assert replay(*arguments).json["data"] == replay(*arguments, "--workers", "2").json["data"]


def test_timing_is_told_with_its_interval(replay, walk):
    answer = replay("compare", walk, "-b", "v6.1", "-c", "v6.1", "--repeats", "10", "--json")
    timing = answer.json["data"]["timing"]
    assert timing["pairs"] == 10
    assert timing["low"] <= timing["ratio"] <= timing["high"]
    assert 0 < timing["p"] <= 1


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("-b", "v5.13", "-c", "v5.12"), "unknown profile 'v5.13'"),
        (("-b", "v5.11", "-c", "nowhere.py"), "nowhere.py: found no such file"),
        (("-b", "v5.11", "-c", "v5.12", "--fail-on", "some"), "needed one of any, regressions, none"),
        (("-b", "v5.11", "-c", "v5.12", "--repeats", "x"), "--repeats x"),
    ],
)
def test_mistakes_exit_with_2(replay, walk, options, words):
    answer = replay("compare", walk, *options)
    assert answer.code == 2
    assert words in answer.error


@pytest.mark.parametrize("content", ["", "[]", '{"version": 2}', '{"version": 2, "differences": [{"function": 1}]}'])
def test_files_of_other_content_are_no_expectation(replay, walk, tmp_path, content):
    file = tmp_path / "e.json"
    file.write_text(content)
    answer = replay("compare", walk, "-b", "v5.11", "-c", "v5.12", "--expect", file)
    assert answer.code == 3
    assert "needed" in answer.error


def test_a_row_is_explained_side_by_side(replay):
    answer = replay("explain", COLLISION, 195, "-p", "v5.11", "-p", "v5.12")
    assert answer.code == 0
    assert "recorded on 6.1.192: NULL, asked for the pagemap, got pagemap 2" in answer.out
    assert "1f90a3477df3" in answer.out
    assert "present, has_mem_map, online, early, taint_zone_device" in answer.out


def test_explanations_as_json(replay):
    data = replay("explain", COLLISION, 195, "-p", "v5.12", "--json").json["data"]
    (explained,) = data["explanations"]
    (decision,) = explained["decisions"]
    assert (decision["function"], decision["decided"]) == ("pfn_to_online_page", "pagemap")
    assert decision["checks"][-1] == {
        "check": "pagemap",
        "holds": True,
        "reads": {"pagemap_live": True},
        "answer": "device-page",
        "why": "the section is tainted and a live pagemap covers the pfn",
        "since": "v5.12 1f90a3477df3 (mm: teach pfn_to_online_page() about ZONE_DEVICE section collisions)",
    }


@pytest.mark.parametrize(("row", "words"), [("x", "row 'x'; needed a number"), ("0", "asks nothing of a kernel")])
def test_rows_that_cannot_be_explained_exit_with_2(replay, row, words):
    answer = replay("explain", COLLISION, row)
    assert answer.code == 2
    assert words in answer.error


def test_a_candidate_in_c_is_checked_natively(replay, walk, tmp_path):
    """Whoever writes C names the file, and gets native verdicts against the baseline's tables."""
    if not any(shutil.which(name) for name in ("cc", "gcc", "clang")):
        pytest.skip("no C compiler")
    file = tmp_path / "mine.c"
    file.write_text(
        '#include "replay_pfn.h"\n'
        "struct page *pfn_to_online_page(unsigned long pfn)\n"
        "{\n"
        "\treturn online_section(__pfn_to_section(pfn)) ? pfn_to_page(pfn) : NULL;\n"
        "}\n"
    )
    answer = replay("compare", walk, "-b", "v5.12", "-c", file, "--repeats", "0", "--json")
    assert answer.code == 1
    (report,) = answer.json["data"]["reports"]
    functions = {name.lower(): f for name, f in report["functions"].items()}
    assert functions["pfn_to_online_page"]["differing"] > 0
    assert replay("compare", walk, "-b", "v5.12", "-c", file, "-o", tmp_path / "x.arrow").code == 2


def test_rows_that_name_no_pfn_are_shown_without_one(replay, tmp_path):
    """memunmap_pages is told by its pagemap."""
    (tmp_path / "patch.py").write_text(
        "import errno\nfrom replay.candidate import *\npatch = Candidate('v5.12')\n"
        "patch.answer('memunmap_pages', 'unmapped', returns(-errno.EBUSY))\n"
    )
    trace = write(
        tmp_path / "unmap.arrow",
        {"kind": EventKind.MEMREMAP_PAGES, "pfn": 0x14000, "nr_pages": 0x4000, "pgmap": 1, "pgmap_type": 1},
        {"kind": EventKind.MEMUNMAP_PAGES, "pgmap": 1},
        machine=machine(memory=(BootRange(0x100, 0x12000),), resources=()),
    )
    options = (trace, "-b", "v5.12", "-c", tmp_path / "patch.py", *QUICK)
    (cause,) = replay("compare", *options, "--json").json["data"]["unexpected"]
    assert cause["function"] == "memunmap_pages"
    assert cause["first"] == {"trace": str(trace), "row": 1, "pfn": None}
    assert cause["ranges"] == []
    assert "pfn 0x0" not in replay("compare", *options).out


def test_the_first_of_many_traces_is_named(replay, walk, tmp_path):
    later = write(
        tmp_path / "z.arrow", lookup(0x100), machine=machine(memory=(BootRange(0x100, 0x12000),), resources=())
    )
    data = replay("compare", later, walk, "-b", "v5.11", "-c", "v5.12", *QUICK, "--json").json["data"]
    firsts = {c["candidate"]["check"]: c["first"] for c in data["unexpected"] if c["function"] == "pfn_to_online_page"}
    assert firsts["subsection"] == {"trace": str(walk), "row": 1, "pfn": 0x12000}


def test_the_line_that_gives_the_result_again_can_be_pasted(replay, walk, tmp_path):
    folder = tmp_path / "two words"
    folder.mkdir()
    shutil.copy(walk, folder / "walk.arrow")
    (folder / "patch.py").write_text("from replay.candidate import *\npatch = Candidate('v5.12')\n")
    options = ("-b", "v5.11", "-c", folder / "patch.py", *QUICK, "--json", "--open-loop")
    line = replay("compare", folder / "walk.arrow", *options).json["data"]["reproduce"]
    assert shlex.split(line)[2] == str(folder / "walk.arrow")
    assert shlex.split(line)[-2:] == [str(folder / "patch.py"), "--open-loop"]


def test_all_causes_asked_for_leaves_out_no_other_reason(replay):
    """--limit 0 shows all causes; the line about other reasons is there also where nothing differs."""
    out = replay(
        "compare", RECORDED / "6.1.192-s3-hotplug.arrow", "-b", "v5.11", "-c", "v5.12", *QUICK, "--limit", 0
    ).out
    assert "pfn_to_online_page: page / untainted" in out


def test_errors_of_traces_name_them_once(replay, walk, tmp_path):
    broken = tmp_path / "broken.arrow"
    broken.write_bytes(b"ARROW1" + bytes(20))
    for command in (("compare", "-b", "v5.11", "-c", "v5.12", *QUICK), ("what-if", "-p", "v6.1")):
        answer = replay(command[0], walk, broken, *command[1:])
        assert answer.code == 3
        assert answer.err.count(str(broken)) == 1
