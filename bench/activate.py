"""Times programs that are started by their first caller, as systemd starts them: a socket with a request in it already.

activate.py ROUNDS DIRECTORY NAME=COMMAND...    Round-robin; prints JSON: milliseconds to the first byte, and of CPU,
by name.
"""
import json
import os
import shlex
import signal
import socket
import sys
import time

REQUEST = b'GET /v1/credentials HTTP/1.1\r\nHost: authd\r\nConnection: close\r\n\r\n'


def become(listener, command, directory):
    if listener.fileno() == 3:
        os.set_inheritable(3, True)
    else:
        os.dup2(listener.fileno(), 3)
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(quiet, descriptor)
    env = dict(os.environ, HOME=directory, LISTEN_FDS='1', LISTEN_FDNAMES='unix', LISTEN_PID=str(os.getpid()))
    # With a certificate bundle in it, every start of Node parses it.
    env.pop('NODE_EXTRA_CA_CERTS', None)
    os.execvpe(command[0], command, env)


def cpu_of(pid):
    tasks = f'/proc/{pid}/task'
    return sum(int(open(f'{tasks}/{task}/schedstat').read().split()[0]) for task in os.listdir(tasks)) / 1e6


def start_once(command, directory):
    path = os.path.join(directory, 'activated.sock')
    if os.path.exists(path):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX)
    os.umask(0o177)
    listener.bind(path)
    os.umask(0o022)
    listener.listen(64)
    caller = socket.socket(socket.AF_UNIX)
    caller.connect(path)
    caller.sendall(REQUEST)
    caller.settimeout(20)
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        become(listener, command, directory)
    listener.close()
    first = caller.recv(64)
    took = (time.perf_counter() - began) * 1000
    used = cpu_of(pid)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    caller.close()
    if not first.startswith(b'HTTP/1.1 200'):
        raise SystemExit(f'{command}: {first!r}')
    return took, used


rounds, directory = int(sys.argv[1]), sys.argv[2]
commands = [argument.split('=', 1) for argument in sys.argv[3:]]
times = {name: {'wall': [], 'cpu': []} for name, _ in commands}
# The first round warms the file cache.
for turn in range(rounds + 1):
    for name, command in commands:
        took, used = start_once(shlex.split(command), directory)
        if turn > 0:
            times[name]['wall'].append(took)
            times[name]['cpu'].append(used)
print(json.dumps(times))
