"""Known colours: what every implementation of the letterbox's colour conversion must give."""

from typing import NamedTuple


class Colour(NamedTuple):
    """A flat frame of one colour."""

    name: str
    matrix: str
    full_range: bool
    yuv: tuple[int, int, int]
    rgb: tuple[float, float, float]  # before rounding, held to 0..255
    remark: str


# The samples are the 8-bit code words that the Recommendations' own equations give, rounded to integers, for each
# colour; rgb is what those rounded code words decode to, so that it misses the pure colour by up to about a level.
COLOURS = [
    Colour("black", "bt601", False, (16, 128, 128), (0.0, 0.0, 0.0), "the floor of the range"),
    Colour("white", "bt601", False, (235, 128, 128), (255.0, 255.0, 255.0), "the ceiling of the range"),
    Colour(
        "grey", "bt601", False, (126, 128, 128), (128.082, 128.082, 128.082), "neutral: the three channels are equal"
    ),
    Colour("red", "bt601", False, (81, 90, 240), (254.44, 0.0, 0.0), "a primary"),
    Colour("green", "bt601", False, (145, 54, 34), (0.179, 255.0, 0.93), "a primary"),
    Colour("blue", "bt601", False, (41, 240, 110), (0.381, 0.0, 255.0), "a primary"),
    Colour("cyan", "bt601", False, (170, 166, 16), (0.56, 255.0, 255.0), "two primaries"),
    Colour("magenta", "bt601", False, (106, 202, 222), (254.821, 0.0, 254.07), "two primaries"),
    Colour("yellow", "bt601", False, (210, 16, 146), (254.619, 255.0, 0.0), "two primaries"),
    Colour("black", "bt601", True, (0, 128, 128), (0.0, 0.0, 0.0), "the floor of the range"),
    Colour("white", "bt601", True, (255, 128, 128), (255.0, 255.0, 255.0), "the ceiling of the range"),
    Colour("grey", "bt601", True, (128, 128, 128), (128.0, 128.0, 128.0), "neutral: the three channels are equal"),
    Colour("red", "bt601", True, (76, 85, 255), (254.054, 0.103, 0.0), "a primary"),
    Colour("green", "bt601", True, (150, 44, 21), (0.0, 255.0, 1.152), "a primary"),
    Colour("blue", "bt601", True, (29, 255, 107), (0.0, 0.292, 254.044), "a primary"),
    Colour("cyan", "bt601", True, (179, 171, 1), (0.946, 254.897, 255.0), "two primaries"),
    Colour("magenta", "bt601", True, (105, 212, 235), (255.0, 0.0, 253.848), "two primaries"),
    Colour("yellow", "bt601", True, (226, 1, 149), (255.0, 254.708, 0.956), "two primaries"),
    Colour("black", "bt709", False, (16, 128, 128), (0.0, 0.0, 0.0), "the floor of the range"),
    Colour("white", "bt709", False, (235, 128, 128), (255.0, 255.0, 255.0), "the ceiling of the range"),
    Colour(
        "grey", "bt709", False, (126, 128, 128), (128.082, 128.082, 128.082), "neutral: the three channels are equal"
    ),
    Colour("red", "bt709", False, (63, 102, 240), (255.0, 0.585, 0.0), "a primary"),
    Colour("green", "bt709", False, (173, 42, 26), (0.0, 255.0, 1.142), "a primary"),
    Colour("blue", "bt709", False, (32, 240, 118), (0.703, 0.075, 255.0), "a primary"),
    Colour("cyan", "bt709", False, (188, 154, 16), (0.0, 254.415, 255.0), "two primaries"),
    Colour("magenta", "bt709", False, (78, 214, 230), (255.0, 0.0, 253.858), "two primaries"),
    Colour("yellow", "bt709", False, (219, 16, 138), (254.297, 254.925, 0.0), "two primaries"),
    Colour("black", "bt709", True, (0, 128, 128), (0.0, 0.0, 0.0), "the floor of the range"),
    Colour("white", "bt709", True, (255, 128, 128), (255.0, 255.0, 255.0), "the ceiling of the range"),
    Colour("grey", "bt709", True, (128, 128, 128), (128.0, 128.0, 128.0), "neutral: the three channels are equal"),
    Colour("red", "bt709", True, (54, 99, 255), (254.0, 0.0, 0.188), "a primary"),
    Colour("green", "bt709", True, (182, 30, 12), (0.0, 254.66, 0.151), "a primary"),
    Colour("blue", "bt709", True, (18, 255, 116), (0.0, 0.0, 253.661), "a primary"),
    Colour("cyan", "bt709", True, (201, 157, 1), (1.0, 255.0, 254.812), "two primaries"),
    Colour("magenta", "bt709", True, (73, 226, 244), (255.0, 0.34, 254.849), "two primaries"),
    Colour("yellow", "bt709", True, (237, 1, 140), (255.0, 255.0, 1.339), "two primaries"),
    Colour("black", "bt2020", False, (16, 128, 128), (0.0, 0.0, 0.0), "the floor of the range"),
    Colour("white", "bt2020", False, (235, 128, 128), (255.0, 255.0, 255.0), "the ceiling of the range"),
    Colour(
        "grey", "bt2020", False, (126, 128, 128), (128.082, 128.082, 128.082), "neutral: the three channels are equal"
    ),
    Colour("red", "bt2020", False, (74, 97, 240), (255.0, 0.494, 1.139), "a primary"),
    Colour("green", "bt2020", False, (164, 47, 25), (0.0, 254.496, 0.0), "a primary"),
    Colour("blue", "bt2020", False, (29, 240, 119), (0.029, 0.01, 255.0), "a primary"),
    Colour("cyan", "bt2020", False, (177, 159, 16), (0.0, 254.506, 253.861), "two primaries"),
    Colour("magenta", "bt2020", False, (87, 209, 231), (255.0, 0.504, 255.0), "two primaries"),
    Colour("yellow", "bt2020", False, (222, 16, 137), (254.971, 254.99, 0.0), "two primaries"),
    Colour("black", "bt2020", True, (0, 128, 128), (0.0, 0.0, 0.0), "the floor of the range"),
    Colour("white", "bt2020", True, (255, 128, 128), (255.0, 255.0, 255.0), "the ceiling of the range"),
    Colour("grey", "bt2020", True, (128, 128, 128), (128.0, 128.0, 128.0), "neutral: the three channels are equal"),
    Colour("red", "bt2020", True, (67, 92, 255), (254.274, 0.362, 0.0), "a primary"),
    Colour("green", "bt2020", True, (173, 36, 11), (0.472, 254.987, 0.0), "a primary"),
    Colour("blue", "bt2020", True, (15, 255, 118), (0.254, 0.0, 253.938), "a primary"),
    Colour("cyan", "bt2020", True, (188, 164, 1), (0.726, 254.638, 255.0), "two primaries"),
    Colour("magenta", "bt2020", True, (82, 220, 245), (254.528, 0.013, 255.0), "two primaries"),
    Colour("yellow", "bt2020", True, (240, 1, 138), (254.746, 255.0, 1.062), "two primaries"),
    Colour("foot room", "bt601", False, (0, 128, 128), (0.0, 0.0, 0.0), "below limited black"),
    Colour("head room", "bt601", False, (255, 128, 128), (255.0, 255.0, 255.0), "above limited white"),
    Colour("limited white", "bt601", False, (235, 128, 128), (255.0, 255.0, 255.0), "tells the ranges apart"),
    Colour("all low", "bt709", False, (0, 0, 0), (0.0, 76.878, 0.0), "no real colour: red and blue held to 0"),
    Colour(
        "all high", "bt709", False, (255, 255, 255), (255.0, 183.526, 255.0), "no real colour: red and blue held to 255"
    ),
    Colour("foot room", "bt601", True, (0, 128, 128), (0.0, 0.0, 0.0), "limited range's foot room is black here"),
    Colour("head room", "bt601", True, (255, 128, 128), (255.0, 255.0, 255.0), "white"),
    Colour("limited white", "bt601", True, (235, 128, 128), (235.0, 235.0, 235.0), "tells the ranges apart"),
    Colour("all low", "bt709", True, (0, 0, 0), (0.0, 83.897, 0.0), "no real colour: red and blue held to 0"),
    Colour(
        "all high", "bt709", True, (255, 255, 255), (255.0, 171.758, 255.0), "no real colour: red and blue held to 255"
    ),
]

TOLERANCE_LEVELS = 0.1
"""For float output: how far a channel may be from `rgb`."""
