"""Pictures as a reward server is given them, and some that are none."""

import base64
import io
import zlib

from PIL import Image


def png(width=4, height=4, mode="RGB", form="PNG"):
    file = io.BytesIO()
    Image.new(mode, (width, height)).save(file, format=form)
    return base64.b64encode(file.getvalue()).decode()


def a_png_that_says_it_is(width, height):
    """The beginning of a picture whose pixels nobody has."""

    def chunk(data):
        return (len(data) - 4).to_bytes(4) + data + zlib.crc32(data).to_bytes(4)

    head = b"IHDR" + width.to_bytes(4) + height.to_bytes(4) + bytes([8, 2, 0, 0, 0])
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunk(head) + chunk(b"IDAT" + zlib.compress(b""))).decode()
