"""The proof: the promises of the project, tried by force, with figures at the end.

    python -m pytest -m proof              # in the size that CI runs, minutes
    python -m pytest -m proof --full       # all of it, hours

Every test here says how many cases it has tried, which of them started without the isolation that
was asked for, and what was left over; the run ends with the sums, of which the last two have to be
nothing. A test asks for `tally`, and for `watch` where it starts processes:

    def test_many_starts(newest: Python, tally: Tally, watch: Watch) -> None:
        for unshare in LISTS:
            done = newest.run(PROGRAM, unshare=unshare, env=watch.env)
            tally.case(started_unisolated=not inside(done) and done.status == 0, what=unshare)

`full` tells which of the two sizes it is. What all of this proves, and what it has found, is on the
page docs/reliability.md.
"""
