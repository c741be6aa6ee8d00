"""Whether this process starts jobs on other machines or in containers, where an address of this machine's proxy leads nowhere."""

import http.client
import importlib.util
import json
from urllib.parse import quote, urlsplit

# Their jobs are children of the worker.
_LOCAL_TYPES = ("process",)
_RUN_FLOWS = (("worker", "start"), ("flow", "serve"), ("flow-run", "execute"), ("task", "serve"))
# They send the settings of this process to the workers of a cluster.
_CLUSTERS = ("prefect_dask", "prefect_ray")


def starts_jobs_elsewhere(settings, env, time_left):
    """Why so, as the begin of a sentence; None if not. `env`: the variables of the proxy. `time_left`: seconds, asked when needed."""
    command = settings.command
    if command is not None and tuple(command[:2]) not in _RUN_FLOWS:
        return None
    if command is not None and command[0] == "worker":
        why = _worker(command[2:], env, time_left)
        if why is not None:
            return why
    for module in _CLUSTERS:
        if importlib.util.find_spec(module) is not None:
            return "%s is installed and may run tasks on other machines" % module
    return None


def _worker(options, env, time_left):
    kind = _option(options, "-t", "--type")
    pool = _option(options, "-p", "--pool")
    if kind is None and pool is not None:
        kind = _type_of_pool(pool, env, time_left)
    if kind in _LOCAL_TYPES:
        return None
    if kind is None:
        return "the type of work pool %s is not known" % pool
    return "a worker of type %s starts its jobs elsewhere" % kind


def _option(options, short, long):
    for at, word in enumerate(options):
        if word in (short, long):
            return options[at + 1] if at + 1 < len(options) else None
        if word.startswith(long + "="):
            return word.split("=", 1)[1]
    return None


def _type_of_pool(pool, env, time_left):
    """Asks Prefect, through the proxy. None if that does not say."""
    url = urlsplit(env["PREFECT_API_URL"])
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=max(time_left(), 0.05))
    try:
        path = "%s/work_pools/%s" % (url.path, quote(pool, safe=""))
        connection.request("GET", path, headers=_authorization(env))
        answer = connection.getresponse()
        # A pool that does not exist is created by the worker, and without a type as one of processes.
        if answer.status == 404:
            return "process"
        found = json.loads(answer.read(1_000_000)) if answer.status == 200 else {}
        return found.get("type") if isinstance(found, dict) else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()


def _authorization(env):
    import base64

    if env.get("PREFECT_API_AUTH_STRING"):
        encoded = base64.b64encode(env["PREFECT_API_AUTH_STRING"].encode()).decode()
        return {"Authorization": "Basic %s" % encoded}
    return {"Authorization": "Bearer %s" % env["PREFECT_API_KEY"]}
