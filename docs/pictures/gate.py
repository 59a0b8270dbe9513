#!/usr/bin/env python3
"""Draw gate.svg, the way of a connection with net=gate, beside this file."""

from __future__ import annotations

from drawing import CARE, CLOSED, HOST, INSIDE, SOFT, TRAFFIC, area, arrow, box, text, write

NOBODY = "#fbf3e4"

PARTS = [
    area(20, 20, 250, 430, INSIDE, "A: THE PROGRAM'S"),
    area(300, 20, 250, 250, NOBODY, "B: NOBODY LIVES HERE"),
    area(580, 20, 280, 430, HOST, "THE HOST'S NAMESPACE"),
    box(40, 60, 210, 84, "the program", "and its children: git, curl,", "a C library, a thread"),
    box(40, 180, 210, 66, "gate0", "default routes, 198.18.0.2"),
    box(40, 300, 210, 66, "lo", "its own ports, all free"),
    box(
        320,
        60,
        210,
        84,
        "every address",
        "is local here (AnyIP): sockets",
        "on 53 and allowed ports",
    ),
    box(320, 180, 210, 66, "gate", "a packet socket sees it all"),
    box(
        600,
        60,
        240,
        102,
        "unshare-gate",
        "holds the sockets of B; answers",
        "for names; decides; connects",
        "outside; copies; records",
    ),
    box(600, 196, 240, 48, "the host's resolver"),
    box(600, 278, 240, 48, "what the list allows"),
    box(600, 360, 240, 66, "the host's loopback", "allow=localhost:5432"),
    arrow("145,146 145,176", TRAFFIC, both=True),
    arrow("252,213 316,213", TRAFFIC, both=True),
    text(285, 204, "veth", 12, fill=TRAFFIC, text_anchor="middle"),
    arrow("425,178 425,148", TRAFFIC, both=True),
    arrow("596,100 534,100", CARE, both=True),
    arrow("660,164 660,192", CARE, both=True),
    arrow("842,130 852,130 852,302 844,302", TRAFFIC),
    arrow("252,333 590,393", CARE, both=True),
    text(300, 330, "same port, if it is allowed", 12, fill=CARE),
    arrow("320,226 290,226 290,290 60,290 60,250", CLOSED, dashed=True),
    text(72, 284, "anything else: refused, and told", 12, fill=CLOSED),
    text(320, 420, "If unshare-gate ends, B is gone with it:", 13, fill=SOFT),
    text(320, 438, "nothing can be reached any more.", 13, fill=SOFT),
]

if __name__ == "__main__":
    write(__file__, "The way of a connection with net=gate", 880, 470, PARTS)
