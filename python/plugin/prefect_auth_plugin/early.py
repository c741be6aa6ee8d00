"""For versions of Prefect that read their settings before they call plugins: acts when Prefect is about to be imported.

A `.pth` file of the environment imports this module at each start of Python (`prefect-auth integrate --early` writes it).
Until somebody imports Prefect it does nothing but wait for that.
"""

import os
import sys


class _BeforePrefect:
    """A finder that finds nothing: it is asked for every module, and leaves once it was asked for Prefect."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "prefect":
            sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _BeforePrefect]
            _act()
        return None


def _act():
    from . import decide, settings

    try:
        given = decide.decide(settings.of_surroundings())
    except Exception as error:
        decide.say("the plugin failed (%s) and sets nothing" % type(error).__name__)
        return
    if given is not None:
        os.environ.update(given.env)


def arm():
    """Called by the `.pth` file."""
    sys.meta_path.insert(0, _BeforePrefect)
