"""Names that the plugin's parts share with each other and with those who use it."""

# Set in the environment of the run that was started inside, by the one that did it.
SECOND_RUN = "PY_UNSHARE_PYTEST"

# The same, with why an alternative that was asked for first is not what runs.
INSTEAD = "PY_UNSHARE_INSTEAD"

# Set for the rest of the run: the inode number of a network namespace whose gate lets nothing pass.
CLOSED = "PY_UNSHARE_CLOSED"

MARKER = "unshare"
LOOPBACK_MARKER = "needs_loopback"

# Attributes of a report: which process ran the test, and what it becomes when it is shown.
WAY = "unshare_boot_way"
SHOWN = "unshare_boot_shown"

# Values of the first.
IN_CHILD = "in a child"
IN_PROCESS = "in this process"

WHOLE = True
