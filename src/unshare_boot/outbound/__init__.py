"""A network namespace with a way out, by a program outside of it; docs/networking.md has a picture.

`program` tells the story from the program's side, `watcher` that of the process it leaves outside.
"""

WHOLE = True
