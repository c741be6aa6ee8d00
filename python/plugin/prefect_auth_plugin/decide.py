"""What this Prefect process gets: the way through the proxy, the raw pair, or nothing; and what is said about it."""

import os
import sys
from urllib.parse import quote

from . import elsewhere
from .daemon import Daemon, Refused, Unreachable
from .settings import EPHEMERAL

# What a person wants of the plugin: `proxy` (default where it works), `key` for the raw pair, `off`.
MODE = "PREFECT_AUTH_PLUGIN"
# What was done for this process or a parent of it, so that children say nothing again.
DID = "PREFECT_AUTH_PLUGIN_DID"


class Given:
    """Variables for this process and its children, and a note for Prefect's log."""

    def __init__(self, env, note=""):
        self.env = env
        self.note = note


def say(text):
    """One line on stderr, where nobody parses."""
    try:
        sys.stderr.write("prefect-auth: %s\n" % text.replace("\n", " "))
    except (OSError, ValueError):
        pass


def decide(settings):
    """`Given`, or None to leave everything as it is."""
    mode = settings.env.get(MODE, "")
    if mode not in ("", "proxy", "key", "off"):
        say("%s is %r, and must be proxy, key or off; the plugin sets nothing" % (MODE, mode))
        return None
    if mode == "off" or settings.is_own_command:
        return None
    if settings.named_by is not None:
        return _leave(settings)
    daemon = Daemon(settings.env, _headers(settings))
    try:
        return _ask(settings, daemon, mode)
    except Unreachable as error:
        why = "its daemon does not answer (%s)" % error
        return _without(settings, why, "prefect-auth service install      (or, in the foreground: prefect-authd)")
    except Refused as error:
        if error.code == "login_required" and not settings.names_api and not settings.is_temporary:
            return None  # the profile was written to use no API
        return _without(settings, error.detail, error.hint or "prefect-auth doctor")


def _leave(settings):
    env = settings.env
    # What `prefect-auth env`, `exec` or we ourselves set is no news.
    is_ours = DID in env or env.get("PREFECT_API_AUTH_STRING") == "" or env.get("PREFECT_API_KEY", "").startswith("pab_")
    if not is_ours:
        say("%s wins; the plugin sets nothing" % settings.named_by)
        return Given({DID: "left"})
    return None


def _without(settings, why, remedy):
    """Warns once, and keeps Prefect from starting a server of its own that nobody asked for."""
    if settings.env.get(DID) != "failed":
        more = "" if settings.names_api else "; Prefect gets no API"
        say("no credentials: %s%s; run: %s" % (why, more, remedy))
    env = {DID: "failed"}
    if settings.is_temporary and not settings.names_api:
        env.update((name, "false") for name in EPHEMERAL)
    return Given(env)


def _ask(settings, daemon, mode):
    if mode != "key":
        try:
            given = _proxied(settings, daemon)
        except Refused as error:
            if error.code != "tcp_unavailable" or mode == "proxy":
                raise
            say("the daemon has no TCP listener, so this process gets the key itself, which is not renewed in it")
        else:
            why = None if mode == "proxy" else elsewhere.starts_jobs_elsewhere(settings, given, daemon.time_left)
            if why is None:
                return Given(given, "through prefect-authd")
            say("%s, so this process gets the key itself and not the proxy's address, which is valid on this machine only" % why)
    return Given(_raw(settings, daemon), "the key itself")


def _proxied(settings, daemon):
    env = settings.env
    body = {
        "mode": "proxy",
        "format": "json",
        "name": ("python %s" % sys.prefix).encode("ascii", "replace").decode()[:100],
        "environment": os.path.abspath(sys.prefix)[:1000],
    }
    optional = {
        "profile": settings.profile,
        "no_proxy": env.get("NO_PROXY", env.get("no_proxy")),
        "no_proxy_small": env.get("no_proxy") if env.get("no_proxy") != env.get("NO_PROXY") else None,
        "custom_headers": settings.headers,
    }
    body.update((name, value) for name, value in optional.items() if value)
    answer = daemon.post("/v1/env", body)
    if answer.get("notice"):
        say(str(answer["notice"]))
    return _variables(answer.get("env"), "proxy")


def _raw(settings, daemon):
    query = "" if settings.profile is None else "&profile=%s" % quote(settings.profile, safe="")
    return _variables(daemon.get("/v1/env?format=json" + query), "key")


def _variables(answer, did):
    """Of Prefect's names alone: what another version may answer besides is not set."""
    if not isinstance(answer, dict) or not isinstance(answer.get("PREFECT_API_URL"), str):
        raise Unreachable("this version does not know the shape of the answer")
    env = {
        name: value
        for name, value in answer.items()
        if isinstance(value, str) and (name.startswith("PREFECT_") or name in ("NO_PROXY", "no_proxy"))
    }
    env[DID] = did
    return env


def _headers(settings):
    """Whose profile file this Prefect reads: the daemon refuses to give another one's credentials."""
    said = [settings.profiles_path] + ([settings.path_chosen_by] if settings.path_chosen_by else [])
    return {"prefect-auth-profiles-file": " ".join(quote(part, safe="") for part in said)}
