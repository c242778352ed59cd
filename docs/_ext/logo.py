"""Draw the logo: three answers, and the posterior of a labeler's accuracy that they leave.

python docs/_ext/logo.py docs/images/logo.svg
"""

import sys
from pathlib import Path

INK, PAPER, RIGHT, WRONG = "#1f6f8b", "#f3f7f8", "#1f6f8b", "#d9822b"
SIZE, LEFT, BASE, WIDTH, HEIGHT = 128, 18, 84, 92, 62
NUM_RIGHT, NUM_WRONG = 2, 1
"""Two right answers and a wrong one: Beta(3, 2) under a uniform prior."""


def density(x: float) -> float:
    """Beta(NUM_RIGHT + 1, NUM_WRONG + 1) up to its constant."""
    return x**NUM_RIGHT * (1.0 - x) ** NUM_WRONG


def svg() -> str:
    """The drawing; legible at 16 pixels, on light and on dark pages."""
    steps = [step / 48 for step in range(49)]
    top = density(NUM_RIGHT / (NUM_RIGHT + NUM_WRONG))
    at = [(LEFT + WIDTH * x, BASE - HEIGHT * density(x) / top) for x in steps]
    curve = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
    mean = LEFT + WIDTH * (NUM_RIGHT + 1) / (NUM_RIGHT + NUM_WRONG + 2)
    colors = [RIGHT] * NUM_RIGHT + [WRONG] * NUM_WRONG
    dots = "".join(
        f'<circle cx="{LEFT + 14 + 32 * number}" cy="104" r="10" fill="{color}"/>'
        for number, color in enumerate(colors)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {SIZE} {SIZE}" role="img" '
        'aria-label="gtx_bayes: three answers and the posterior they leave">'
        f'<rect width="{SIZE}" height="{SIZE}" rx="24" fill="{PAPER}"/>'
        f'<polygon points="{curve}" fill="{INK}" fill-opacity="0.2"/>'
        f'<polyline points="{curve}" fill="none" stroke="{INK}" stroke-width="6" '
        'stroke-linejoin="round"/>'
        f'<line x1="{mean:.1f}" y1="{BASE}" x2="{mean:.1f}" y2="{BASE - HEIGHT + 14}" '
        f'stroke="{INK}" stroke-width="4" stroke-dasharray="7 6"/>{dots}</svg>\n'
    )


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(svg(), encoding="utf-8")
