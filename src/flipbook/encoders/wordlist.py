"""The words of the world and of the weather: what the shipped text encoder knows. Written by scripts/words."""

WORDS: tuple[str, ...] = (
    "a", "above", "air", "almost", "an", "and", "animation", "arms", "around", "background", "becomes", "bigger",
    "black", "blue", "both", "bounces", "bouncing", "bows", "bright", "brown", "camera", "changes", "circle",
    "circles", "city", "clip", "clouds", "cloudy", "dark", "does", "down", "downwards", "drift", "drifting",
    "drops", "dry", "east", "falling", "falls", "few", "figure", "from", "front", "gets", "goes", "gray", "green",
    "growing", "grows", "hills", "hurricane", "in", "infrared", "is", "jumps", "lapse", "large", "larger", "left",
    "light", "moist", "moon", "mountains", "move", "moves", "moving", "night", "north", "not", "ocean", "of",
    "on", "orange", "orbiting", "orbits", "out", "over", "pans", "patchy", "pink", "purple", "quickly", "raises",
    "red", "right", "rises", "rotates", "satellite", "scattered", "seen", "shrinking", "shrinks", "sky", "slides",
    "slowly", "small", "smaller", "south", "space", "spinning", "spins", "square", "squats", "stands", "star",
    "staying", "stays", "still", "storm", "stormy", "striped", "sun", "sunset", "swirling", "teal", "that", "the",
    "thick", "time", "to", "triangle", "turning", "turns", "up", "upwards", "vapour", "video", "visible", "walks",
    "water", "waves", "west", "where", "while", "white", "with", "yellow", "zooms",
)
