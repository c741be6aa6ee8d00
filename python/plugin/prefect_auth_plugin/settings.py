"""What this Prefect process would use without us: which profile, and whether something else than the profile names an API."""

import os
import re
import sys

_NAMES = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING")
# Whether Prefect may start a temporary server: the name of 3.0, and the one since.
EPHEMERAL = ("PREFECT_SERVER_ALLOW_EPHEMERAL_MODE", "PREFECT_SERVER_EPHEMERAL_ENABLED")
_FILES = (".env", "prefect.toml", "pyproject.toml")
# Commands that show or change Prefect's own settings, or start a server: they must see what is theirs.
_OWN_COMMANDS = (
    ("cloud", "login"),
    ("cloud", "logout"),
    ("config", "set"),
    ("config", "unset"),
    ("config", "validate"),
    ("profile",),
    ("profiles",),
    ("server",),
    ("version",),
)


class Settings:
    """Facts about this process; no decision."""

    def __init__(self, env, argv, profile, named_by, profiles_path, path_chosen_by, names_api, headers, is_temporary):
        self.env = env
        # The words of the command line of `prefect`, without options before the command; None for another program.
        self.command = _command(argv)
        # The profile that was named for this process; None: the active one.
        self.profile = profile
        # What names an API beside the profile, such as `.env in this directory`; None: nothing does.
        self.named_by = named_by
        self.profiles_path = profiles_path
        self.path_chosen_by = path_chosen_by
        # Whether the profile itself names an API.
        self.names_api = names_api
        # The custom headers, if an Authorization is among them; else None.
        self.headers = headers
        # Whether this Prefect would start a temporary server, and nobody asked for one.
        self.is_temporary = is_temporary

    @property
    def is_own_command(self):
        """Whether it is a command about Prefect's own settings."""
        command = self.command
        return command is not None and any(command[: len(own)] == list(own) for own in _OWN_COMMANDS)


def of_prefect():
    """By the settings of the Prefect that is being imported (3.6.14 and later)."""
    from prefect.context import get_settings_context

    env, argv = os.environ, sys.argv
    context = get_settings_context()
    settings, profile = context.settings, context.profile
    named = _named_profile(env, argv)
    in_table = {str(getattr(key, "name", key)): value for key, value in profile.settings.items()}
    # Prefect applies `--profile` only later; until then these are the settings of another profile.
    is_this = named is None or named == profile.name
    values = {
        "PREFECT_API_URL": settings.api.url,
        "PREFECT_API_KEY": _text(settings.api.key),
        "PREFECT_API_AUTH_STRING": _text(settings.api.auth_string),
    }
    # What the profile says is the daemon's business. What differs from it came from somewhere else, and wins.
    foreign = [name for name, value in values.items() if value and _text(in_table.get(name)) != value]
    custom = _text_of_headers(settings.client.custom_headers)
    source = getattr(profile, "source", None)
    is_bundled = source is None or os.path.abspath(str(source)) != os.path.abspath(str(settings.profiles_path))
    return Settings(
        env=env,
        argv=argv,
        profile=named,
        named_by=_origin(env, foreign) if foreign and is_this else None,
        profiles_path=os.path.abspath(str(settings.profiles_path)),
        path_chosen_by=_path_chosen_by(env, str(settings.profiles_path)),
        names_api=bool(in_table.get("PREFECT_API_URL")) and is_this,
        headers=custom,
        is_temporary=is_bundled and not any(name in env for name in EPHEMERAL),
    )


def of_surroundings():
    """By the environment and the files of the directory: before Prefect is imported, for versions that have no hook."""
    env, argv = os.environ, sys.argv
    names = [name for name in _NAMES if env.get(name) or env.get(name.lower())]
    named_by = _origin(env, names) if names else _naming_file()
    path = env.get("PREFECT_PROFILES_PATH")
    home = env.get("PREFECT_HOME")
    usual = os.path.join(os.path.expanduser(home or "~/.prefect"), "profiles.toml")
    profiles_path = os.path.abspath(os.path.expanduser(path or usual))
    return Settings(
        env=env,
        argv=argv,
        profile=_named_profile(env, argv),
        named_by=named_by,
        profiles_path=profiles_path,
        path_chosen_by="PREFECT_PROFILES_PATH" if path else "PREFECT_HOME" if home else None,
        names_api=False,
        headers=_text_of_headers(env.get("PREFECT_CLIENT_CUSTOM_HEADERS")),
        is_temporary=not os.path.exists(profiles_path),
    )


def _text(value):
    """The text of a setting, also of a secret one."""
    reveal = getattr(value, "get_secret_value", None)
    return None if value is None else str(reveal() if reveal else value)


def _text_of_headers(headers):
    import json

    text = headers if isinstance(headers, str) else json.dumps(headers or {})
    return text if "authorization" in text.lower() else None


def _origin(env, names):
    """Where these come from, in words; never their values."""
    in_env = [name for name in names if env.get(name) or env.get(name.lower())]
    if in_env or env.get("PREFECT_API") or env.get("prefect_api"):
        return "%s in the environment" % (in_env[0] if in_env else "PREFECT_API")
    return "%s in this directory" % (_naming_file_name() or "a settings file")


def _naming_file():
    name = _naming_file_name()
    return None if name is None else "%s in this directory" % name


def _naming_file_name():
    for name in _FILES:
        try:
            with open(name, encoding="utf-8", errors="replace") as file:
                text = file.read(1_000_000)
        except OSError:
            continue
        if _names_api(name, text):
            return name
    return None


def _names_api(name, text):
    if name == ".env":
        return re.search(r"(?im)^\s*(export\s+)?prefect_api(_(url|key|auth_string))?\s*=\s*\S", text) is not None
    table = "api" if name == "prefect.toml" else r"tool\.prefect\.api"
    found = re.search(r"(?m)^\s*\[\s*%s\s*\]([^\[]*)" % table, text)
    return found is not None and re.search(r"(?m)^\s*(url|key|auth_string)\s*=", found.group(1)) is not None


def _path_chosen_by(env, path):
    for name in ("PREFECT_PROFILES_PATH", "PREFECT_HOME"):
        if env.get(name):
            return name
    usual = os.path.expanduser("~/.prefect/profiles.toml")
    return None if os.path.abspath(path) == os.path.abspath(usual) else "a settings file in this directory"


def _is_prefect(argv):
    name = os.path.basename(argv[0]) if argv else ""
    # `python -m prefect` has the path of the module.
    return name == "prefect" or (name == "__main__.py" and os.path.basename(os.path.dirname(argv[0])) == "prefect")


def _command(argv):
    if not _is_prefect(argv):
        return None
    words = list(argv[1:])
    while words and words[0].startswith("-"):
        takes_value = words[0] in ("-p", "--profile") and len(words) > 1
        words = words[2:] if takes_value else words[1:]
    return words


def _named_profile(env, argv):
    """The profile that the command line or the environment names."""
    if _is_prefect(argv):
        before_command = True
        for at, word in enumerate(argv[1:], 1):
            if word == "--profile" or (word == "-p" and before_command):
                return argv[at + 1] if at + 1 < len(argv) else None
            if word.startswith("--profile="):
                return word.split("=", 1)[1] or None
            if word == "--":
                break
            if not word.startswith("-"):
                before_command = False
    return env.get("PREFECT_PROFILE") or None
