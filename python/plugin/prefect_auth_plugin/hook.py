"""Prefect's plugin hook: every Prefect process of this environment gets the credentials of prefect-auth-broker.

Prefect calls `setup_environment` while it is imported (entry point group `prefect.plugins`; 3.6.14 and later). Older versions
have no such hook that counts: for them `prefect_auth_plugin.early` does the same before Prefect is imported.
Nothing here raises, prints a key, or takes longer than `daemon.LIMIT_S`.
"""

from . import decide, settings

try:
    from pluggy import HookimplMarker

    # Prefect's own name for it, also since plugins are no longer experimental.
    _hook = HookimplMarker("prefect-experimental")
except ImportError:  # an older Prefect, which does not call the hook

    def _hook(function):
        return function


class _Result:
    """What Prefect reads of a plugin's result (`prefect.plugins.SetupResult`, whose place differs between versions)."""

    required = False

    def __init__(self, env, note):
        self.env = env
        self.note = note


@_hook
def setup_environment(*, ctx):  # by name only, as in the specification: pluggy compares
    try:
        given = decide.decide(settings.of_prefect())
    except Exception as error:
        # Prefect must start: whatever it is, it is said and not raised. Its text may hold what it was about.
        decide.say("the plugin failed (%s) and sets nothing" % type(error).__name__)
        return None
    return None if given is None else _Result(given.env, given.note)
