"""Every kind of file gets its documented answer; what was done to it is said."""

import io
import struct
import zlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image, ImageOps

from smoothcert.errors import BadImage
from smoothcert.images.decode import MAX_PIXELS, MAX_SCANS, read_image, to_png
from smoothcert.schemas.card import ModelCard, Preprocessing


def card(mode: str = "L", shape: tuple[int, int, int] = (1, 28, 28), resize: int | None = None) -> ModelCard:
    return ModelCard(
        name="test",
        architecture="lenet",
        dataset="mnist",
        input_shape=shape,
        labels=list("0123456789"),
        preprocessing=Preprocessing(mode=mode, resize=resize, mean=(0.0,), std=(1.0,)),
        sigma=0.5,
        method="gaussian",
        weights_sha256="0" * 64,
        data_license="none",
    )


SCAN = b"\xff\xda"
RGB_32 = card("RGB", (3, 32, 32))


def noise(height: int = 28, width: int = 28, channels: int = 1) -> np.ndarray:
    pixels = np.random.default_rng(7).integers(0, 256, (height, width, channels), np.uint8)
    return pixels[:, :, 0] if channels == 1 else pixels


def encode(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, file_format, **options)
    return out.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_grey_png_of_the_right_size_is_taken_bit_for_bit() -> None:
    pixels = noise()
    image = read_image(encode(Image.fromarray(pixels)), card())
    assert np.array_equal(image.to_array(), pixels[None])
    assert image.digest.preprocessing == ["decoded from PNG, 28x28"]
    assert image.digest.shape == (1, 28, 28)


@pytest.mark.parametrize("channels", [1, 3])
def test_certified_pixels_survive_the_round_trip_through_their_own_png(channels: int) -> None:
    model = card() if channels == 1 else RGB_32
    first = read_image(encode(Image.fromarray(noise(40, 40, channels)), "JPEG"), model)
    again = read_image(to_png(first), model)
    assert again.pixels == first.pixels
    assert again.digest.sha256 == first.digest.sha256


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "BMP", "GIF"])
def test_every_allowed_format_is_decoded(file_format: str) -> None:
    data = encode(Image.new("L", (28, 28), 200), file_format)
    image = read_image(data, card())
    assert abs(int(image.to_array().mean()) - 200) <= 1
    assert image.digest.preprocessing[0] == f"decoded from {file_format}, 28x28"


@pytest.mark.parametrize("file_format", ["TIFF", "PPM", "ICO", "PDF"])
def test_other_formats_are_refused_though_pillow_knows_them(file_format: str) -> None:
    with pytest.raises(BadImage, match="PNG, JPEG"):
        read_image(encode(Image.new("RGB", (32, 32)), file_format), card())


@pytest.mark.parametrize("data", [b"", b"seven", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"%PDF-1.7 " * 50])
def test_what_is_no_image_is_refused(data: bytes) -> None:
    with pytest.raises(BadImage):
        read_image(data, card())


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "BMP", "WEBP", "GIF"])
def test_truncated_files_are_refused(file_format: str) -> None:
    data = encode(Image.fromarray(noise(64, 64, 3)), file_format)
    with pytest.raises(BadImage):
        read_image(data[: len(data) // 2], card())


def test_a_small_file_that_claims_a_huge_picture_is_refused_before_decoding() -> None:
    bomb = png(50_000, 50_000, 8, 0, bytes(1000))
    with pytest.raises(BadImage, match="too many pixels"):
        read_image(bomb, card())
    just_over = png(8192, 6145, 8, 0, bytes(1000))
    assert 50_000_000 < MAX_PIXELS < 8192 * 6145
    with pytest.raises(BadImage, match="too many pixels"):
        read_image(just_over, card())


@pytest.mark.parametrize("size", [(6000, 4000), (8160, 6120), (6144, 8192)])
def test_pictures_as_large_as_phones_make_are_taken(size: tuple[int, int]) -> None:
    image = read_image(encode(Image.new("L", size, 77), "JPEG"), card())
    assert set(image.pixels) == {77}
    assert image.digest.preprocessing[0] == f"decoded from JPEG, {size[0]}x{size[1]}"


def test_a_webp_may_be_half_as_large() -> None:
    assert read_image(encode(Image.new("L", (4096, 6144)), "WEBP", method=0), card())
    with pytest.raises(BadImage, match="4096x6144"):
        read_image(encode(Image.new("L", (4096, 6145)), "WEBP", method=0), card())


def test_large_pictures_are_decoded_one_at_a_time_to_the_same_pixels() -> None:
    wide = Image.fromarray(noise(64, 64, 3)).resize((5000, 4000))
    wide.putalpha(128)
    data = encode(wide, compress_level=1)
    with ThreadPoolExecutor(3) as threads:
        images = list(threads.map(lambda _: read_image(data, RGB_32), range(3)))
    white = Image.new("RGB", wide.size, "white")
    white.paste(wide.convert("RGB"), mask=wide.getchannel("A"))
    expected = white.resize((32, 32), Image.Resampling.BILINEAR)
    assert {image.pixels for image in images} == {np.asarray(expected).transpose(2, 0, 1).tobytes()}


def test_animations_are_refused() -> None:
    frames = [Image.new("L", (28, 28), value) for value in (0, 255)]
    data = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(BadImage, match="Animated"):
        read_image(data, card())


def test_exif_orientation_is_applied() -> None:
    exif = Image.Exif()
    pixels = noise(32, 20, 3)
    for orientation in range(1, 9):
        exif[0x0112] = orientation
        data = encode(Image.fromarray(pixels), exif=exif)
        shown = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        image = read_image(data, card("RGB", (3, shown.height, shown.width)))
        assert np.array_equal(image.to_array().transpose(1, 2, 0), np.asarray(shown))
        assert ("turned upright as its EXIF orientation says" in image.digest.preprocessing) == (
            orientation > 1
        )


def test_transparency_is_composited_on_white() -> None:
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    image = read_image(encode(clear), RGB_32)
    assert image.to_array().min() == 255
    assert "transparency composited on white" in image.digest.preprocessing


def test_a_palette_with_a_transparent_entry_is_composited_on_white() -> None:
    palette = Image.new("P", (32, 32), 0)
    palette.putpalette([10, 20, 30] + [0] * 765)
    opaque = read_image(encode(palette), RGB_32)
    assert opaque.to_array()[:, 0, 0].tolist() == [10, 20, 30]
    assert "converted from palette to RGB" in opaque.digest.preprocessing
    clear = read_image(encode(palette, transparency=0), RGB_32)
    assert clear.to_array()[:, 0, 0].tolist() == [255, 255, 255]


def test_sixteen_bits_are_reduced_to_the_high_byte() -> None:
    deep = np.arange(28 * 28, dtype=np.uint16).reshape(28, 28) * 80
    image = read_image(encode(Image.fromarray(deep)), card())
    assert np.array_equal(image.to_array()[0], deep >> 8)
    assert "reduced from 16 to 8 bits a channel (high byte)" in image.digest.preprocessing


def test_sixteen_bit_colour_is_reduced_the_same_way() -> None:
    deep = np.random.default_rng(3).integers(0, 65536, (32, 32, 3)).astype(">u2")
    rows = b"".join(b"\0" + row.tobytes() for row in deep)
    image = read_image(png(32, 32, 16, 2, rows), RGB_32)
    assert np.array_equal(image.to_array().transpose(1, 2, 0), deep >> 8)
    assert "reduced from 16 to 8 bits a channel (high byte)" in image.digest.preprocessing


def test_cmyk_and_colour_become_grey_for_a_grey_model() -> None:
    for mode, source in (("CMYK", "CMYK"), ("RGB", "RGB")):
        image = read_image(encode(Image.new(mode, (28, 28)), "JPEG"), card())
        assert f"converted from {source} to grey (ITU-R 601 luma)" in image.digest.preprocessing
        assert image.digest.shape == (1, 28, 28)


def test_another_size_is_resized_and_the_notes_say_so() -> None:
    image = read_image(encode(Image.new("L", (280, 140), 9)), card())
    assert image.digest.preprocessing[-1] == "resized from 280x140 to 28x28 (bilinear)"
    assert set(image.pixels) == {9}
    assert read_image(encode(Image.new("L", (1, 1), 9)), card()).pixels == image.pixels


def test_a_card_with_resize_crops_the_centre_as_torchvision_does() -> None:
    torch = pytest.importorskip("torchvision.transforms.v2")
    model = card("RGB", (3, 24, 24), resize=30)
    picture = Image.fromarray(noise(61, 97, 3)).resize((97, 61))
    image = read_image(encode(picture), model)
    expected = torch.CenterCrop(24)(torch.Resize(30)(picture))
    assert np.array_equal(image.to_array().transpose(1, 2, 0), np.asarray(expected))
    assert image.digest.preprocessing[-2:] == [
        "resized from 97x61 to 47x30 (bilinear)",
        "cropped to the central 24x24",
    ]


def test_a_needle_is_refused_before_its_resized_form_fills_the_memory() -> None:
    model = card("RGB", (3, 224, 224), resize=256)
    with pytest.raises(BadImage, match="long and narrow"):
        read_image(encode(Image.new("1", (1_000_000, 1))), model)


def test_bytes_behind_the_picture_never_reach_the_certified_file() -> None:
    data = encode(Image.fromarray(noise())) + b"PK\x03\x04 and a whole archive"
    assert b"archive" not in to_png(read_image(data, card()))


def test_an_embedded_colour_profile_is_ignored_and_that_is_said() -> None:
    plain = encode(Image.fromarray(noise(32, 32, 3)))
    profiled = encode(Image.fromarray(noise(32, 32, 3)), icc_profile=b"any profile")
    assert read_image(profiled, RGB_32).pixels == read_image(plain, RGB_32).pixels
    assert "embedded colour profile ignored" in read_image(profiled, RGB_32).digest.preprocessing


def scanned(side: int, scans: int) -> bytes:
    """A progressive JPEG whose last scan comes again and again."""
    data = encode(Image.new("L", (side, side), 128), "JPEG", progressive=True)
    end = data.rfind(b"\xff\xd9")
    last = data[data.rfind(b"\xff\xc4", 0, data.rfind(SCAN)) : end]
    return data[:end] + last * (scans - data.count(SCAN)) + data[end:]


def test_files_made_to_be_slow_are_refused_by_their_headers() -> None:
    assert read_image(scanned(28, MAX_SCANS), card())
    with pytest.raises(BadImage, match="too many scans"):
        read_image(scanned(28, MAX_SCANS + 1), card())
    with pytest.raises(BadImage, match="too many scans for its size"):
        read_image(scanned(5000, 50), card())
    bmp = bytearray(encode(Image.fromarray(noise()), "BMP"))
    bmp[30:34] = struct.pack("<I", 1)  # biCompression: BI_RLE8
    with pytest.raises(BadImage, match="Run-length"):
        read_image(bytes(bmp), card())


def test_sixteen_bit_colour_is_reduced_by_its_high_byte() -> None:
    deep = np.random.default_rng(3).integers(0, 2**16, (32, 32, 3), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in deep)
    image = read_image(png(32, 32, 16, 2, rows), RGB_32)
    assert np.array_equal(image.to_array().transpose(1, 2, 0), deep >> 8)


def test_black_and_white_is_grey_already() -> None:
    pixels = noise() > 127
    image = read_image(encode(Image.fromarray(pixels)), card())
    assert np.array_equal(image.to_array()[0], np.where(pixels, 255, 0))
    assert image.digest.preprocessing == ["decoded from PNG, 28x28"]
