#!/usr/bin/env python3
"""Draw networking.svg, who talks to whom with net=pasta or net=slirp4netns, beside this file."""

from __future__ import annotations

from drawing import CARE, CLOSED, HOST, INSIDE, TRAFFIC, area, arrow, box, text, write

PARTS = [
    area(200, 20, 360, 480, HOST, "THE HOST'S NETWORK NAMESPACE"),
    area(590, 20, 270, 480, INSIDE, "THE PROGRAM'S"),
    box(20, 130, 150, 66, "the internet", "and the LAN"),
    box(20, 262, 150, 66, "a client", "of a published port"),
    box(
        220,
        130,
        300,
        84,
        "pasta or slirp4netns",
        "ordinary sockets of an ordinary user,",
        "the other end of the tap device",
    ),
    box(220, 258, 300, 66, "the relay", "published UDP ports; sockets on both sides"),
    box(
        220,
        372,
        300,
        100,
        "the watcher",
        "starts the two, and ends them with the",
        "last process inside (PR_SET_PDEATHSIG,",
        "should it be killed itself)",
    ),
    box(620, 130, 210, 84, "the program", "and its children:", "eth0 or tap0, lo, own ports"),
    box(620, 258, 210, 66, "its loopback", "127.0.0.1, ::1"),
    box(220, 60, 300, 44, "the host's 127.0.0.1, ::1"),
    arrow("172,163 216,163", TRAFFIC, both=True),
    arrow("522,172 616,172", TRAFFIC, both=True),
    text(529, 160, "tap", 12, fill=TRAFFIC),
    arrow("172,285 184,285 184,200 216,200", TRAFFIC),
    text(178, 248, "TCP", 12, fill=TRAFFIC, text_anchor="end"),
    arrow("172,302 216,302", TRAFFIC),
    text(176, 320, "UDP", 12, fill=TRAFFIC),
    arrow("522,290 616,290", TRAFFIC, both=True),
    arrow("725,256 725,218", TRAFFIC, both=True),
    arrow("370,370 370,328", CARE),
    arrow("522,400 545,400 545,200 524,200", CARE),
    arrow("522,430 725,430 725,328", CARE, dashed=True),
    text(612, 448, "waits for its processes (pidfd)", 12, fill=CARE),
    arrow("725,126 725,82 540,82", CLOSED, dashed=True),
    text(534, 88, "✕", 18, fill=CLOSED, text_anchor="middle", font_weight="bold"),
    text(612, 74, "no way", 12, fill=CLOSED),
]

if __name__ == "__main__":
    write(__file__, "Who talks to whom with net=pasta or net=slirp4netns", 880, 520, PARTS)
