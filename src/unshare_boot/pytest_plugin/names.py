"""Names that the plugin's parts share with each other and with those who use it."""

# Set in the environment of the run that was started inside, by the one that did it.
SECOND_RUN = "PY_UNSHARE_PYTEST"

MARKER = "unshare"

WHOLE = True
