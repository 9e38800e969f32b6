"""``replay generate covering``, and what coverage and mutate say of machines that a kernel does not run on."""

import json

import pytest
import typer

from replay.cli.common import add_command
from replay.cli.generate_covering import command
from replay.cli.main import main
from replay.compare.reach import Unreachable
from replay.errors import UsageError
from replay.sources.synthetic import covering as module
from replay.sources.synthetic.covering import Covering
from replay.sources.synthetic.covering_poison import PoisonCover

LARGE = "traces/synthetic/covering-arm64-large.arrow"
SMALL = "traces/synthetic/covering-x86_64-no-vmemmap.arrow"


@pytest.fixture
def app(monkeypatch):
    """The command, with a generator that has nothing to find out."""

    def quick(kernels, progress=None):
        return Covering(
            tuple(k.name for k in kernels),
            (PoisonCover().script,),
            (Unreachable("v7.2", "access", "drop dropped", "no reason"),),
        )

    monkeypatch.setattr(module, "covering", quick)
    app = typer.Typer(rich_markup_mode=None)
    add_command(app, "covering", command)
    return app


def test_files_and_reasons_are_listed(app, tmp_path, capsys):
    app(["-o", str(tmp_path / "new"), "-p", "v7.2", "--json"], standalone_mode=False)
    data = json.loads(capsys.readouterr().out)["data"]
    assert data["kernels"] == ["v7.2"]
    assert data["files"][0]["file"] == str(tmp_path / "new" / "covering-poison.arrow")
    assert data["unreachable"][0]["reason"] == "no reason"
    app(["-o", str(tmp_path), "-p", "v7.2", "--unreachable"], standalone_mode=False)
    assert "v7.2: access, drop dropped: no reason" in capsys.readouterr().out


def test_a_file_is_no_folder_and_a_kernel_that_cannot_be_replayed_is_refused(app, tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(UsageError, match="needed a folder"):
        app(["-o", str(tmp_path / "a")], standalone_mode=False)
    with pytest.raises(UsageError, match="cannot be replayed"):
        app(["-o", str(tmp_path / "b"), "-p", "v2.6.32"], standalone_mode=False)


@pytest.mark.parametrize("name", ["coverage", "mutate"])
def test_machines_that_a_kernel_does_not_run_on_are_left_out_and_said_so(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main([name, SMALL, LARGE, "-p", "v7.2", *(["-f", "access"] if name == "mutate" else [])])
    assert stop.value.code == 0
    assert f"warning: {LARGE}: left out: the machine has sections" in capsys.readouterr().err
    with pytest.raises(SystemExit) as stop:
        main([name, LARGE, "-p", "v7.2"])
    assert stop.value.code == 2
    assert "sections of 2^30 bytes" in capsys.readouterr().err
