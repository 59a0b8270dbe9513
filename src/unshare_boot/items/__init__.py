"""What fewer lists ask for: id maps, joins, addresses, clocks, mounts and capabilities."""

WHOLE = True
