"""What unshare_boot.start names (PEP 829), for Pythons that ignore the line of unshare_boot.pth.

site.py imports it at every start, reports an Exception of that, and goes on. So it has next to
nothing in it: the package, which has more to fail with, is imported where nothing gets out.
"""

import os


def _start() -> None:
    """Do what the line of unshare_boot.pth does."""
    if "PY_UNSHARE" in os.environ:
        try:
            import unshare_boot

            unshare_boot.boot()
        except BaseException as error:
            try:
                os.write(2, b"unshare-boot: broken, not started: %a\n" % error)
            finally:
                os._exit(125)


# It stands last: where the file was cut short, site.py misses it, and does not go on in silence.
start = _start
