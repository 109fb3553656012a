"""Documents as other programs write them, made when a test wants them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence


def pdf(pages: Sequence[str], *, title: str = "", password: str = "") -> bytes:
    from fpdf import FPDF
    from fpdf.enums import AccessPermission

    file = FPDF()
    file.set_font("helvetica", size=12)
    if title:
        file.set_title(title)
    if password:
        file.set_encryption(owner_password="owner", user_password=password, permissions=AccessPermission.none())
    for text in pages:
        file.add_page()
        file.multi_cell(0, text=text)
    return bytes(file.output())


def scan(pages: Sequence[str]) -> bytes:
    from fpdf import FPDF

    file = FPDF()
    for text in pages:
        file.add_page()
        file.image(io.BytesIO(picture(text)), w=180)
    return bytes(file.output())


def picture(text: str) -> bytes:
    from PIL import Image, ImageDraw, ImageFont

    image = Image.new("RGB", (900, 160), "white")
    ImageDraw.Draw(image).text((30, 40), text, fill="black", font=ImageFont.load_default(56))
    target = io.BytesIO()
    image.save(target, "PNG")
    return target.getvalue()


def docx() -> bytes:
    import docx as library

    file = library.Document()
    file.core_properties.title = "The kettle"
    file.add_heading("Manual", 0)
    file.add_paragraph("It boils water.")
    file.add_heading("Safety", 1)
    file.add_paragraph("Keep it away from children.")
    table = file.add_table(2, 2)
    for row, cells in zip(table.rows, (("part", "price"), ("lid", "4 EUR")), strict=True):
        for cell, text in zip(row.cells, cells, strict=True):
            cell.text = text
    file.add_heading("Cleaning", 1)
    file.add_paragraph("Use vinegar.")
    target = io.BytesIO()
    file.save(target)
    return target.getvalue()


def repacked(archive: bytes, name: str, content: bytes) -> bytes:
    """A zip archive in which one part is another."""
    target = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.namelist():
            new.writestr(part, content if part == name else old.read(part))
    return target.getvalue()
