"""From an image file to bytes of one shape, by Pillow's decoders of raster formats only."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from wavesweep.errors import SettingsError

# What files of images are, whatever their names say. Pillow knows more, and some of its readers start other programs:
# Ghostscript for PostScript.
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Of an image whose shorter side has been resized; Pillow refuses files with twice as many.
_MOST_PIXELS = 89_478_485


@dataclass(frozen=True)
class Preparation:
    """From a file to an input: squares of `image_size` pixels, of 1 or 3 channels.

    With `resize`, the shorter side gets that length by `interpolation` and the centre is cut out; without it the image
    is stretched to the square. `mean` and `std` of channels from 0 to 1 are those to normalise by, if not the data's.
    """

    image_size: int
    channels: int
    resize: int | None = None
    interpolation: str = "bilinear"
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def pixels(self) -> str:
        """What decides the pixels, for a digest."""
        cut = "" if self.resize is None else f" {self.resize} {self.interpolation}"
        return f"{self.image_size} {self.channels}{cut}"

    @property
    def statistics(self) -> tuple[Tensor, Tensor] | None:
        """Mean and standard deviation in bytes, shape (channels, 1, 1)."""
        if self.mean is None or self.std is None:
            return None
        return torch.tensor(self.mean)[:, None, None] * 255, torch.tensor(self.std)[:, None, None] * 255


def decoded(file: str, preparation: Preparation) -> NDArray[np.uint8]:
    """The pixels of a file, shape (channels, size, size).

    An orientation in its EXIF data is not applied: torchvision's loader, with which most networks were trained, does
    not either.

    Raises:
        SettingsError: it is no image of `FORMATS`, or is damaged.
    """
    size, channels = preparation.image_size, preparation.channels
    try:
        with Image.open(file, formats=FORMATS) as opened:
            image = _eight_bits(opened).convert("RGB" if channels == 3 else "L")
            return np.asarray(_square(image, preparation)).reshape(size, size, channels).transpose(2, 0, 1)
    except Exception as error:  # a decoder may raise anything for a file that is broken or hostile
        raise unreadable(file, " ".join(str(error).split()) or type(error).__name__) from None


def unreadable(file: str, reason: str) -> SettingsError:
    """The error about a file that cannot be decoded."""
    allowed = f"cannot be read as an image ({', '.join(FORMATS)})"
    return SettingsError("dataset.path", file, allowed, f"remove or mend it ({reason})")


def _square(image: Image.Image, preparation: Preparation) -> Image.Image:
    size = preparation.image_size
    if preparation.resize is not None:
        short, long = sorted(image.size)
        # A strip of one pixel would become one of any length.
        if preparation.resize**2 * long > _MOST_PIXELS * max(short, 1):
            raise ValueError(
                f"{image.width} x {image.height} pixels cannot be resized to {preparation.resize}: too long"
            )
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms import functional as transforms

        resized = transforms.resize(image, [preparation.resize], InterpolationMode(preparation.interpolation))
        cut: Image.Image = transforms.center_crop(resized, [size])
        return cut
    if image.size != (size, size):
        image = image.resize((size, size), Image.Resampling.BILINEAR)
    return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """Pillow clips 16-bit greys at 255 when it converts them; scale them instead."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image).clip(0, 65535) / 257).round().astype(np.uint8))
