"""The words of the world, and what each one means in pixels: the one place where both the painter and the reader look.

Lengths are in units of the short side S = min(height, width); `u` in [0, 1] is the place in the clip, first frame 0 and
last frame 1; x grows to the right and y downwards; colours are 8-bit RGB.
"""

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (222, 32, 38),
    "green": (34, 166, 58),
    "blue": (38, 70, 232),
    "yellow": (248, 218, 32),
    "purple": (150, 44, 190),
    "orange": (250, 132, 16),
    "white": (252, 252, 252),
}
SHAPES = ("circle", "square", "triangle", "star")

# Every shape of one size has the same area, pi * radius**2. A size between the two bands has no name in a caption.
SIZES: dict[str, tuple[float, float]] = {"small": (0.115, 0.145), "large": (0.205, 0.245)}
UNNAMED_SIZE = (0.155, 0.195)

MOTIONS = (
    "moves right",    # constant velocity, 0.40 to 0.60 S over the clip, always inside the frame
    "moves left",
    "moves up",
    "moves down",
    "bounces",        # falls from rest and comes back up in parabolas, 1.5 to 2.5 arcs, height 0.30 to 0.45 S
    "falls",          # from rest with constant acceleration: y = y0 + d * u**2, d 0.50 to 0.65 S
    "orbits",         # circle of radius 0.17 to 0.26 S around a fixed point, 0.9 to 1.2 turns, either way round
    "spins",          # about its own centre, 0.45 to 0.8 turns either way: of a star about a quarter of its period a frame; never a circle
    "grows",          # radius times 1.9 to 2.4 from first to last frame (linear in u); has no size word
    "shrinks",        # the reverse of grows
    "stays still",
    "turns",          # "turns COLOUR": stays in place and cross-fades to another colour between u = 0.3 and u = 0.7
)
BACKGROUNDS: dict[str, tuple[int, int, int]] = {
    "black": (14, 14, 16),
    "gray": (128, 128, 128),
    "teal": (22, 118, 122),
    "brown": (104, 66, 40),
    "striped": (84, 92, 104),   # stripes of (58, 64, 76) and (110, 120, 132), 0.10 to 0.16 S wide, four directions
    "cloudy": (126, 156, 192),  # soft clouds between (92, 128, 176) and (196, 206, 218), drifting slowly or still
}


def is_held_out(colour: str, shape: str, motion: str) -> bool:
    """True for the one in eleven (colour, shape, motion) combinations that training never sees; they test composition.

    `motion` is one of `MOTIONS`; "turns COLOUR" counts as "turns".
    """
    if motion.startswith("turns"):
        motion = "turns"
    index = 3 * list(COLOURS).index(colour) + 5 * SHAPES.index(shape) + 7 * MOTIONS.index(motion)
    return index % 11 == 4
