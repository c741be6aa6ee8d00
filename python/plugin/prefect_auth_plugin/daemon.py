"""Asks the daemon, over its unix socket, within a limit for everything together."""

import http.client
import io
import json
import os
import socket
import stat
import sys
import time

# Prefect gives all plugins 20 s together. A daemon that sleeps starts in one.
LIMIT_S = 3.0
_MOST_BYTES = 256 * 1024


class Refused(Exception):
    """The daemon's own refusal: its code, what it says, and the command that helps, if there is one."""

    def __init__(self, code, detail, hint=None):
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.hint = hint


class Unreachable(Exception):
    """No daemon answered in time."""


class Daemon:
    """All requests of one start of Prefect. `LIMIT_S` counts from the first."""

    def __init__(self, env, headers=None, limit_s=LIMIT_S):
        self._env = env
        self._headers = headers or {}
        self._deadline = time.monotonic() + limit_s

    def get(self, path):
        """The JSON answer. Raises `Refused` or `Unreachable`."""
        return self._ask("GET", path, None)

    def post(self, path, body):
        """The JSON answer. Raises `Refused` or `Unreachable`."""
        return self._ask("POST", path, json.dumps(body))

    def time_left(self):
        """Seconds, never negative."""
        return max(self._deadline - time.monotonic(), 0.0)

    def _ask(self, method, path, body):
        try:
            status, text = self._exchange(method, path, body)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(str(error)) from error
        try:
            answer = json.loads(text)
        except ValueError:
            raise Unreachable("the answer is no JSON") from None
        if not isinstance(answer, dict):
            raise Unreachable("the answer is no JSON object")
        if status != 200:
            raise Refused(str(answer.get("code", "")), str(answer.get("detail", "")), answer.get("hint"))
        return answer

    def _exchange(self, method, path, body):
        lines = [
            "%s %s HTTP/1.1" % (method, path),
            "Host: authd",
            "Connection: close",
            "Accept: application/json, application/problem+json",
            "User-Agent: prefect-auth-plugin",
        ]
        lines += ["%s: %s" % pair for pair in self._headers.items()]
        data = b"" if body is None else body.encode()
        if body is not None:
            lines += ["Content-Type: application/json", "Content-Length: %d" % len(data)]
        request = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + data
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            self._limit(connection)
            connection.connect(find_socket(self._env))
            connection.sendall(request)
            raw = bytearray()
            # Limited each time: a slow trickle must not outlast the limit.
            while len(raw) <= _MOST_BYTES:
                self._limit(connection)
                chunk = connection.recv(65536)
                if not chunk:
                    break
                raw += chunk
        response = http.client.HTTPResponse(_Received(bytes(raw)))
        response.begin()
        return response.status, response.read().decode("utf-8", "replace")

    def _limit(self, connection):
        left = self.time_left()
        if left == 0:
            raise TimeoutError("no answer within %g s" % LIMIT_S)
        connection.settimeout(left)


class _Received:
    """A socket of which everything was read already, for Python's parser of HTTP."""

    def __init__(self, raw):
        self._raw = raw

    def makefile(self, _mode):
        return io.BytesIO(self._raw)


def find_socket(env):
    """The path of the socket that exists and is ours. Raises `Unreachable`."""
    candidates = list(_candidates(env))
    for path in candidates:
        try:
            found = os.lstat(path)
        except OSError:
            continue
        # Another user's socket is a trap.
        if stat.S_ISSOCK(found.st_mode) and found.st_uid == os.getuid():
            return path
    raise Unreachable("no socket at %s" % " or ".join(candidates))


def _candidates(env):
    """As every client of the daemon looks for it."""
    explicit = env.get("PREFECT_AUTH_SOCKET")
    if explicit:
        yield os.path.abspath(explicit)
        return
    name = "prefect-auth"
    home = os.path.expanduser("~")
    state = env.get("PREFECT_AUTH_STATE_DIR")
    if sys.platform == "darwin":
        usual = os.path.join(home, "Library", "Application Support", name)
    else:
        if env.get("XDG_RUNTIME_DIR"):
            yield os.path.join(env["XDG_RUNTIME_DIR"], name, "authd.sock")
        yield "/run/user/%d/%s/authd.sock" % (os.getuid(), name)
        xdg = env.get("XDG_STATE_HOME", "")
        usual = os.path.join(xdg if os.path.isabs(xdg) else os.path.join(home, ".local", "state"), name)
    yield os.path.join(os.path.abspath(state) if state else usual, "run", "authd.sock")
