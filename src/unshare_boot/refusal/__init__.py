"""Why a list was refused, in words that help. Loaded only then."""

WHOLE = True
