/** The sandbox of the unit: each forbidden act is tried outside it, then inside. */
import { copyFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { installPackage, READY, runSession, whyNoManager } from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''
if (skip === false) {
  copyFileSync(fileURLToPath(new URL('./fixtures/sandbox-probe.py', import.meta.url)), join(home, 'probe.py'))
}

/** The act, its result outside the unit, and inside. */
const table: readonly (readonly [string, string, string])[] = [
  ['write home', 'allowed', 'EROFS'],
  ['write units', 'allowed', 'EROFS'],
  ['write settings', 'allowed', 'EROFS'],
  ['write usr', 'EACCES', 'EROFS'],
  ['write state', 'allowed', 'allowed'],
  ['write profiles', 'allowed', 'allowed'],
  ['write runtime', 'allowed', 'EROFS'],
  ['write cgroup', 'EACCES', 'EROFS'],
  ['see tmp', 'seen', 'hidden'],
  ['see devices', 'seen', 'hidden'],
  ['netlink', 'allowed', 'EAFNOSUPPORT'],
  ['packet', 'EPERM', 'EAFNOSUPPORT'],
  ['namespace', 'allowed', 'EPERM'],
  ['mount', 'EPERM', 'EPERM'],
  ['ptrace', 'allowed', 'EPERM'],
  ['personality', 'allowed', 'EPERM'],
  ['set-id bit', 'allowed', 'EPERM'],
  ['realtime', 'EPERM', 'EPERM'],
  ['host name', 'EPERM', 'EPERM'],
  ['clock', 'EPERM', 'EPERM'],
  ['core dump', '', '(0, 0)'],
  ['no new privileges', '0', '1'],
  ['seccomp', '0', '2'],
  ['bounding set', '', '0000000000000000'],
  ['umask', '0o22', '0o77'],
]

t.test('everything is possible outside, only what the daemon needs inside', { skip }, async (t) => {
  const { stdout, stderr } = await runSession(
    home,
    `mkdir -p -m 700 ~/.local/state/prefect-auth; touch /tmp/pab-marker
     python3 ~/probe.py ~/outside; cat ~/outside; rm -f ~/.local/state/prefect-auth/probe; echo ====
     ${READY}
     printf '#!/bin/sh\\npython3 ~/probe.py ~/.local/state/prefect-auth/report; exec sleep 60\\n' >~/.local/share/prefect-auth-broker/start-daemon
     systemctl --user restart prefect-authd.service
     until grep -q ^umask ~/.local/state/prefect-auth/report; do sleep 0.05; done
     cat ~/.local/state/prefect-auth/report; rm -f /tmp/pab-marker`,
  )
  const [outside = '', inside = ''] = stdout.split('====\n').map((text) => `\n${text}`)
  for (const [what, before, after] of table) {
    if (before !== '') t.match(outside, `\n${what}: ${before}\n`, `outside: ${what}`)
    t.match(inside, `\n${what}: ${after}\n`, `inside: ${what}`)
  }
  t.comment(stderr)
})

t.test('a signal cannot start the debugger', { skip }, async (t) => {
  const { stdout } = await runSession(
    home,
    `${READY}
     heard() { grep -ciE 'debugger|inspector' "$1"; }
     node -e 'setInterval(() => {}, 1000); process.stdout.write("up\\n")' >naive.out 2>naive.err & naive=$!
     until grep -q up naive.out; do sleep 0.05; done
     kill -USR1 $naive; until [ "$(heard naive.err)" != 0 ]; do sleep 0.05; done; heard naive.err; kill $naive
     kill -USR1 "$(pid)"; ask /livez; sleep 0.3; ask /livez; echo; heard "$XDG_RUNTIME_DIR"/authd.log`,
  )
  t.match(stdout, /^[1-9]\n{"live":true}{"live":true}\n0\n$/)
})

/** Asks once over each listener, and keeps the connections open. */
const CALLER = `
import os, socket, sys, time
def ask(family, address, host, more=''):
    one = socket.socket(family)
    one.connect(address)
    one.sendall(f'GET /v1/env HTTP/1.1\\r\\nHost: {host}\\r\\n{more}\\r\\n'.encode())
    assert one.recv(65536).startswith(b'HTTP/1.1 200'), host
    return one
kept = [
    ask(socket.AF_UNIX, os.environ['S'], 'authd'),
    ask(socket.AF_INET, ('127.0.0.1', 4280), '127.0.0.1:4280', f'Authorization: Bearer {os.environ["T"]}\\r\\n'),
]
print('asked', flush=True)
time.sleep(600)
`

t.test('the audit log names who asked, though the sandbox hides every process', { skip }, async (t) => {
  const { stdout, stderr } = await runSession(
    home,
    `${READY}
     T=$(prefect-auth token create --name caller --power use); export S T
     cat >caller.py <<'END'${CALLER}END
     python3 caller.py >asked.txt & asker=$!
     until grep -q asked asked.txt; do sleep 0.05; done
     named() { prefect-auth audit | grep -c "python3.$asker. < bash.$$. < "; }
     for i in $(seq 100); do [ "$(named)" = 2 ] && break; sleep 0.1; done; say named "$(named)"
     systemctl --user stop prefect-authd-callers.socket; python3 caller.py >again.txt & again=$!
     until grep -q asked again.txt; do sleep 0.05; done
     ask /livez; echo; systemctl --user list-units --all --plain --no-legend 'prefect-authd-callers@*' | wc -l
     kill $asker $again`,
  )
  t.equal(stdout, 'named: 2\n{"live":true}\n0\n', stderr)
})
