# SPDX-License-Identifier: Apache-2.0
"""Building the library: found again, rebuilt when something changes, clean of warnings, clear when it fails."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from netkernel.errors import BadRequest, BuildFailed
from netkernel.twin.build import (
    SHIM_FLAGS,
    SRC,
    TwinConfig,
    _hash,
    build,
    rtl_files,
    shim_defines,
    shim_includes,
)
from netkernel.twin.library import TwinLibrary
from stub_card import STUB, stub_config


def test_a_build_is_found_again(library: TwinLibrary) -> None:
    said: list[str] = []
    assert build(stub_config(512), extra=[STUB], progress=said.append) == library.path
    assert said == []


def test_parameters_reach_the_library(library: TwinLibrary, narrow_library: TwinLibrary) -> None:
    for lib, width in ((library, 512), (narrow_library, 64)):
        info = lib.info
        assert (info.width, info.vfs, info.queue_sets, info.flows) == (width, 2, 2, 64)
        assert info.build_id == rtl_files(extra=[STUB]).build_id()


@pytest.mark.parametrize("source", sorted(SRC.glob("*.cpp")), ids=lambda p: p.name)
def test_the_shim_has_no_warnings(library: TwinLibrary, source: Path) -> None:
    generated = library.path.parent  # Vtop.h is there
    command = ["g++", *SHIM_FLAGS, "-Werror", "-fsyntax-only", "-Wshadow"]
    command += [*shim_defines(stub_config(512), 1), *shim_includes(generated), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def hw_tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


TREE = {
    "top/top.f": "# a comment\n+incdir+../abi/gen\nrtl/nk_core.v // and another\n",
    "top/rtl/nk_core.v": '`include "nk_x.vh"\nmodule nk_core; nk_a a(); /* nk_no */ endmodule\n',
    "lib/lib.f": "rtl/nk_a.v\nrtl/nk_b.v\nrtl/nk_no.v\n",
    "lib/rtl/nk_a.v": "module nk_a; nk_b b(); endmodule // nk_no\n",
    "lib/rtl/nk_b.v": "module nk_b; endmodule\n",
    "lib/rtl/nk_no.v": "module nk_no; endmodule\n",
    "abi/gen/nk_x.vh": "`define X 1\n",
}


def test_only_what_the_core_needs_goes_in(tmp_path: Path) -> None:
    files = rtl_files(hw_tree(tmp_path, TREE))
    assert [p.name for p in files.sources] == ["nk_a.v", "nk_b.v", "nk_core.v"]
    assert [p.name for p in files.headers] == ["nk_x.vh"]


def test_the_hash_covers_what_goes_in(tmp_path: Path) -> None:
    hw = hw_tree(tmp_path, TREE)
    config = TwinConfig()

    def now() -> tuple[str, int]:
        files = rtl_files(hw)
        return _hash(config, files), files.build_id()

    seen = {now()}
    (hw / "lib/rtl/nk_no.v").write_text("module nk_no; wire w; endmodule\n")
    assert now() in seen, "a file that is not needed changes nothing"
    for name in ("lib/rtl/nk_b.v", "abi/gen/nk_x.vh", "top/rtl/nk_core.v"):
        with (hw / name).open("a") as file:
            file.write("// changed\n")
        assert now() not in seen
        seen.add(now())
    assert _hash(TwinConfig(flows=2048), rtl_files(hw)) not in {h for h, _ in seen}


@pytest.mark.parametrize(
    ("missing", "text"),
    [
        ("top/top.f", "names nk_core.v"),
        ("lib/rtl/nk_b.v", "nk_b.v is named in a file list but does not exist"),
        ("abi/gen/nk_x.vh", "includes nk_x.vh, which is nowhere"),
    ],
)
def test_missing_files_are_named(tmp_path: Path, missing: str, text: str) -> None:
    hw = hw_tree(tmp_path, TREE)
    (hw / missing).unlink()
    with pytest.raises(BuildFailed, match=text):
        rtl_files(hw)


def test_rtl_that_does_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NK_BUILD_ROOT", str(tmp_path / "build"))
    broken = tmp_path / "nk_core.v"
    broken.write_text("module nk_core #(parameter W = 1, NVF = 1\n")
    with pytest.raises(BuildFailed, match="syntax error"):
        build(TwinConfig(), extra=[broken])
    assert not list((tmp_path / "build").rglob("libnktwin.so"))


@pytest.mark.parametrize(
    "config",
    [
        TwinConfig(width=32),
        TwinConfig(width=1024),
        TwinConfig(vfs=0),
        TwinConfig(vfs=253),
        TwinConfig(queue_sets=9),
        TwinConfig(flows=1000),
        TwinConfig(flows=8),
    ],
)
def test_impossible_parameters(config: TwinConfig) -> None:
    with pytest.raises(BadRequest):
        build(config, extra=[STUB])
