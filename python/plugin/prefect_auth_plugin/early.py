"""Acts when Prefect is about to be imported: a `.pth` file of the environment imports this module at each start of Python.

Until somebody imports Prefect it does nothing but wait for that, and it imports nothing. Then it has Prefect call the plugin's hook.
It does the plugin's work itself for versions of Prefect that read their settings before they call plugins (`prefect-auth integrate
--early`), and inside a running event loop, as in a notebook, where no version can call a plugin.
"""

import os
import sys


class _BeforePrefect:
    """A finder that finds nothing: it is asked for every module, and leaves once it was asked for Prefect."""

    def __init__(self, switch):
        self._switch = switch

    def find_spec(self, name, path=None, target=None):
        if name == "prefect":
            sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not self]
            if self._switch is None:
                _act()
            elif _is_in_loop():
                _act()
                # Prefect would log a traceback. What we or the `.pth` file of a parent set is not the user's wish.
                if self._switch not in os.environ or "PREFECT_AUTH_PLUGIN_DID" in os.environ:
                    os.environ[self._switch] = "false"
            else:
                os.environ.setdefault(self._switch, "true")
        return None


def _is_in_loop():
    events = sys.modules.get("asyncio.events")
    return events is not None and events._get_running_loop() is not None


def _act():
    from . import decide, settings

    try:
        given = decide.decide(settings.of_surroundings())
    except Exception as error:
        decide.say("the plugin failed (%s) and sets nothing" % type(error).__name__)
        return
    if given is not None:
        os.environ.update(given.env)


def arm(switch=None):
    """Called by the `.pth` file. `switch`: the variable with which Prefect calls plugins; None: this version calls them too late."""
    sys.meta_path.insert(0, _BeforePrefect(switch))
