"""A diagram from a folder is drawn only if it can be one of ours: no file it names, no script, no size without end."""

from __future__ import annotations

import base64
import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from circuitlang.base.diagnostics import InputError
from circuitlang.reporting.diagram import raster as converting
from circuitlang.reporting.diagram.raster import convert, read_diagram
from circuitlang.reporting.diagram.svg import add, canvas, write
from circuitlang.reporting.diagram.svg_check import Drawing, trusted
from tests.conftest import ROOT
from tests.helpers.fuzzing import all_night, damaged, survives

OURS = (ROOT / "docs" / "images" / "diagram.svg").read_bytes()


def picture(width: int = 4, height: int = 4, kind: str = "PNG") -> str:
    content = io.BytesIO()
    Image.new("L", (width, height)).save(content, kind)
    return f"data:image/{kind.lower()};base64,{base64.b64encode(content.getvalue()).decode()}"


def svg(inside: str = "", size: str = 'width="40" height="30"') -> bytes:
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f"<?xml version='1.0' encoding='utf-8'?>\n<svg {spaces} {size}>{inside}</svg>".encode()


def test_ours_are_trusted():
    assert trusted(OURS).width > 1000
    drawn = canvas(40, 30, "a title", "what it shows")
    add(drawn, "text", "x < y & z", x=-1.5, y=2.0, font_size=12.0, fill="#000000")
    assert trusted(write(drawn)).height == 30
    assert trusted(svg(f'<image xlink:href="{picture()}" width="4" height="4"/>')).width == 40
    assert trusted(svg(f'<image xlink:href="{picture(kind="JPEG")}" width="4" height="4"/>'))


STRANGE = {
    "local file": '<image xlink:href="{secret}" width="9" height="9"/>',
    "file url": '<image xlink:href="file://{secret}" width="9" height="9"/>',
    "href without a prefix": '<image href="{secret}" width="9" height="9"/>',
    "remote": '<image xlink:href="http://127.0.0.1:9/x.png" width="9" height="9"/>',
    "an SVG within": '<image xlink:href="data:image/svg+xml;base64,PHN2Zy8+" width="9" height="9"/>',
    "use": '<use xlink:href="{secret}#a"/>',
    "use of itself": '<g id="a"><use xlink:href="#a"/></g>',
    "filter image": '<filter id="f"><feImage xlink:href="{secret}"/></filter>',
    "style": "<style>@import url({secret});</style>",
    "style attribute": '<g style="fill:url({secret}#a)"/>',
    "paint": '<rect width="9" height="9" fill="url({secret}#a)"/>',
    "clip": '<g clip-path="url({secret}#a)"/>',
    "font": '<text x="1" y="1" font-family="{secret}">a</text>',
    "script": "<script>alert(1)</script>",
    "handler": '<g onload="alert(1)"/>',
    "foreign": '<foreignObject><body xmlns="http://www.w3.org/1999/xhtml"/></foreignObject>',
    "link": '<a xlink:href="javascript:alert(1)"/>',
    "other namespace": '<rect xmlns="http://example.org" width="1" height="1"/>',
    "include": '<include xmlns="http://www.w3.org/2001/XInclude" href="{secret}" parse="text"/>',
    "base": '<g xml:base="file:///etc/"/>',
    "instruction": '<?xml-stylesheet href="{secret}"?>',
    "section": "<![CDATA[ <script/> ]]>",
    "far away": '<rect x="99999999999" width="1" height="1"/>',
    "exponent": '<rect x="1e300" width="1" height="1"/>',
    "not a number": '<rect x="NaN" width="1" height="1"/>',
    "path": '<path d="M1e9 1"/>',
    "arc": '<path d="M1 1A1 1 0 0 0 9 9"/>',
    "digits": '<path d="M' + "1" * 50_000 + 'x"/>',
    "points": '<polygon points="' + "1,1 " * 20_000 + 'x"/>',
    "transform": '<g transform="scale(9999999)"/>',
    "deep": "<g>" * 3000 + "</g>" * 3000,
    "large image": f'<image xlink:href="{picture(9000, 9000)}" width="9" height="9"/>',
    "no image": '<image xlink:href="data:image/png;base64,AAAA" width="9" height="9"/>',
    "open": "<g>",
}


@pytest.mark.parametrize("inside", STRANGE.values(), ids=STRANGE)
def test_what_is_not_ours_is_refused(tmp_path, inside):
    secret = tmp_path / "secret.png"
    Image.new("L", (9, 9)).save(secret)
    (tmp_path / "diagram.svg").write_bytes(svg(inside.replace("{secret}", str(secret))))
    for kind in ("png", "pdf"):
        with pytest.raises(InputError, match="is no diagram that a run drew"):
            convert(tmp_path, kind)


ENTITIES = "<!DOCTYPE svg [<!ENTITY a SYSTEM 'file:///etc/passwd'><!ENTITY b '&a;&a;'>]>"


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\xff\xfe", b"nothing", b"<html/>", svg().decode().encode("utf-16"), svg().replace(b"utf-8", b"utf-7"),
        ENTITIES.encode() + svg(), svg().replace(b"<svg", ENTITIES.encode() + b"<svg"), svg(size=""),
        svg(size='width="0" height="9"'), svg(size='width="-9" height="9"'), svg(size='width="1e9" height="9"'),
        svg(size='width="99999999999" height="9"'), svg(size='width="100%" height="100%"'),
    ],
)  # fmt: skip
def test_what_is_no_svg_or_has_no_size_is_refused(tmp_path, content):
    (tmp_path / "diagram.svg").write_bytes(content)
    if content == svg().replace(b"utf-8", b"utf-7"):
        # What the file says of its encoding is not believed.
        assert read_diagram(tmp_path).text.startswith("\n<svg")
        return
    with pytest.raises(InputError):
        read_diagram(tmp_path)


def test_a_drawing_has_not_any_number_of_elements(monkeypatch):
    monkeypatch.setattr("circuitlang.reporting.diagram.svg_check.MAX_ELEMENTS", 100)
    trusted(svg('<rect width="1" height="1"/>' * 99))
    with pytest.raises(ValueError, match="more elements"):
        trusted(svg('<rect width="1" height="1"/>' * 100))


def test_a_link_in_the_place_of_the_diagram_is_not_followed(tmp_path):
    (tmp_path / "mine.svg").write_bytes(OURS)
    (tmp_path / "circuit").mkdir()
    (tmp_path / "circuit" / "diagram.svg").symlink_to(tmp_path / "mine.svg")
    with pytest.raises(InputError, match="can't be read"):
        convert(tmp_path / "circuit", "png")


@pytest.mark.parametrize("size", [(1_000_000, 10), (100_000, 100_000)])
def test_a_very_large_drawing_is_made_smaller(tmp_path, size):
    width, height = size
    (tmp_path / "diagram.svg").write_bytes(svg(size=f'width="{width}" height="{height}"'))
    scale = converting.scale(read_diagram(tmp_path))
    assert width * scale <= 16_384.5
    assert width * height * scale**2 <= (1 << 27) * 1.01


def test_what_ends_the_process_that_converts_is_a_finding(tmp_path, monkeypatch):
    endless = '<svg xmlns="http://www.w3.org/2000/svg" width="99999999" height="99999999"/>'
    monkeypatch.setattr(converting, "read_diagram", lambda folder: Drawing(endless, 1, 1))
    with pytest.raises(InputError, match="can't be drawn"):
        convert(tmp_path, "png")


def test_a_module_in_the_folder_of_the_user_is_not_run(tmp_path):
    (tmp_path / "vl_convert.py").write_text("open('ran', 'w')")
    (tmp_path / "diagram.svg").write_bytes(svg())
    code = "import sys; sys.path = [each for each in sys.path if each]\n" + (
        "from pathlib import Path\nfrom circuitlang.reporting.diagram.raster import convert\n"
        "assert convert(Path('.'), 'png').startswith(b'\\x89PNG')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    assert not (tmp_path / "ran").exists()


def attempt(folder: Path, content: bytes, number: int, seed: int) -> None:
    for version in damaged(content, number, seed):
        (folder / "diagram.svg").write_bytes(version)
        survives(lambda: read_diagram(folder))


SMALL = svg(
    f'<g class="a"><rect x="1" width="2" height="2"/><image xlink:href="{picture()}" width="4" height="4"/></g>'
)


@pytest.mark.slow
def test_damaged_drawings(tmp_path):
    attempt(tmp_path, SMALL, 600, 0)
    attempt(tmp_path, OURS, 10, 0)


@pytest.mark.nightly
def test_damaged_drawings_all_night(tmp_path):
    for seed in all_night():
        attempt(tmp_path, SMALL, 500, seed)
        attempt(tmp_path, OURS, 5, seed)
