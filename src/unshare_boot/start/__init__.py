"""What decides about a start as a whole: which program, threads, a try in a child, verbose."""

WHOLE = True
