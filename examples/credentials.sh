#!/bin/sh
# The current credentials by curl, over the unix socket: no token needed, the socket is the owner's.
set -eu
socket=$(prefect-auth status --socket)
eval "$(curl -qsS --unix-socket "$socket" http://authd/v1/env)"
exec prefect version
