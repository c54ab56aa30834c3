"""Colours of images and pages, and their contrast rule."""

Colour = tuple[int, int, int]

BLACK: Colour = (16, 18, 22)
WHITE: Colour = (255, 255, 255)
PERSON: Colour = (56, 132, 255)
OBJECT: Colour = (255, 190, 11)
RIGHT: Colour = (12, 124, 54)
WRONG: Colour = (200, 30, 45)
MISSED: Colour = (126, 58, 173)

SERIES: tuple[Colour, ...] = (
    (0, 95, 163), (190, 75, 0), (0, 120, 90), (160, 40, 120),
    (110, 85, 0), (75, 65, 170), (180, 30, 50), (70, 80, 90),
)  # fmt: skip
"""Colours that are distinct from one another and from a white page."""


def relative_luminance(colour: Colour) -> float:
    """Luminance of an sRGB colour in [0, 1] (WCAG 2.2, definition of relative luminance)."""

    def linear(channel: int) -> float:
        value = channel / 255
        return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4

    red, green, blue = (linear(channel) for channel in colour)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast_ratio(first: Colour, second: Colour) -> float:
    """Contrast in [1, 21] (WCAG 2.2); text needs 4.5, large text and lines need 3."""
    high, low = sorted((relative_luminance(first), relative_luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def readable_on(fill: Colour) -> Colour:
    """Black or white, whichever has more contrast with `fill`: at least 4.4 for every colour."""
    return max((BLACK, WHITE), key=lambda colour: contrast_ratio(colour, fill))


def hex_colour(colour: Colour) -> str:
    """ "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*colour)
