/** An agent tries to answer its own question in every way that its user's rights allow; its owner's answers count. */
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import {
  installPackage,
  installProgram,
  READY,
  remove,
  runSession,
  type Session,
  whyNoManager,
} from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const fixture = (path: string) => fileURLToPath(new URL(path, import.meta.url))
const home = skip === false ? installPackage(t) : ''
const keys = mkdtempSync(join(tmpdir(), 'pab-keys-'))
t.teardown(() => remove(keys))

/** The attack, a part of the reason, and whether a judge that looks at parents alone lets it through. */
const table: readonly (readonly [attack: string, reason: RegExp, isNaive: boolean])[] = [
  ['child', /below python[\d.]*\[\d+\], which asks itself/, false],
  ['sibling', /below python[\d.]*\[\d+\], which also started/, true],
  ['setsid', /no shell of yours|started this command/, true],
  ['double fork', /started this command|no shell of yours/, true],
  ['unit', /started this command|no shell of yours/, true],
  ['scope', /below python[\d.]*\[\d+\], which also started/, true],
  ['tmux keys', /inside tmux\[\d+\]/, true],
  ['tmux window', /inside tmux\[\d+\]/, true],
  ['own tmux', /inside tmux\[\d+\]/, true],
  ['script', /below python[\d.]*\[\d+\], which also started/, true],
  ['local ssh', /comes from this machine itself/, true],
  ['local ssh by name', /comes from this machine itself/, true],
  ['own terminal', /this terminal was opened after python[\d.]*\[\d+\]/, true],
  ['interactive shell', /below python[\d.]*\[\d+\], which also started/, true],
  ['orphaned login shell', /no login and no terminal of yours/, true],
  ['in a job', /inside a job of prefect-auth/, true],
  ['under a debugger', /controls bash\[\d+\]/, true],
]

if (skip === false) {
  mkdirSync(join(home, '.ssh'))
  for (const name of ['host', 'laptop', 'agent'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(keys, name)])
  const both = ['laptop', 'agent'].map((name) => readFileSync(join(keys, `${name}.pub`), 'utf8'))
  writeFileSync(join(home, '.ssh/authorized_keys'), both.join(''))
  // As people have it: the key of this machine opens this machine, too.
  writeFileSync(join(home, '.ssh/id_ed25519'), readFileSync(join(keys, 'agent')), { mode: 0o600 })
  copyFileSync(fixture('./fixtures/agent.py'), join(home, 'agent.py'))
  copyFileSync(fixture('../fixtures/notification-service.py'), join(home, 'notification-service.py'))
  copyFileSync(fixture('./fixtures/terminal.py'), join(keys, 'terminal.py'))
  chmodSync(keys, 0o755)
  await installProgram(home, 'test/e2e/fixtures/yes-stage.ts', 'yes-stage.mjs')
}

const OWNER = `
export S
until [ -w /run/desk/want ] && [ -s /run/desk/sshd.log ]; do sleep 0.05; done
typed() { printf '%s\\n' "$2" >"/run/desk/typed-$1"; }
wait_for() { for i in $(seq 5000); do [ -e "$1" ] && return; sleep 0.05; done; echo "no $1" >&2; tail -n 20 /run/desk/shown-* >&2; exit 9; }
open() {
  touch "/run/desk/want/$1"; wait_for "/run/desk/typed-$1"
  typed "$1" "export S=$S XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS PATH=$PATH; echo \\$\\$ >~/pid-$1.part; mv ~/pid-$1.part ~/pid-$1"
  wait_for ~/pid-$1
}
answer() {
  rm -f ~/answer; typed "$1" "curl -qsS --max-time 20 --unix-socket $S http://authd/yes >~/answer.part; mv ~/answer.part ~/answer"
  wait_for ~/answer; say "$2" "$(cat ~/answer)"
}
open login-1; open login-2; open terminal-1
typed login-2 'tmux new-session -d -s owner'
typed login-1 '/usr/bin/python3 ~/agent.py'
wait_for ~/results
/usr/bin/python3 -c 'import json; [print(f"{name}: {value.strip()}") for name, value in json.load(open("results")).items()]'
answer login-2 'older login'; answer terminal-1 'older terminal'
open login-3; answer login-3 'newer login'; open terminal-2; answer terminal-2 'newer terminal'
typed login-2 'PREFECT_AUTH_JOB=0123456789ab bash'; answer login-2 'in a job'
mkfifo presses; /usr/bin/python3 ~/notification-service.py <>presses >shown.txt & wait_for shown.txt
until grep -q ready shown.txt; do sleep 0.05; done
ask /desktop >desktop.txt & asking=$!
until grep -q '^shown 1' shown.txt; do sleep 0.05; done; sleep 1; echo 'press 1 yes' >presses; wait $asking
say 'the button' "$(cat desktop.txt)"
cp ~/pid-login-3 ~/trace-me.part; mv ~/trace-me.part ~/trace-me; wait_for ~/traced; answer login-3 'under a debugger'
`

const PLACES: readonly (readonly [where: string, start: string])[] = [
  [
    'a plain process',
    'node ~/yes-stage.mjs 2>stage.err & until [ -S "$S" ]; do sleep 0.05; done; systemctl --user list-units --plain --no-legend "prefect-authd*"',
  ],
  [
    'the sandboxed service',
    `${READY}
     dist=$(dirname "$(readlink -f ~/prefix/bin/prefect-auth)")
     printf '#!/bin/sh\\n[ "\${1-}" = peers ] && exec node %s/peers.js\\nexec node ~/yes-stage.mjs\\n' "$dist" >~/.local/share/prefect-auth-broker/start-daemon
     systemctl --user restart prefect-authd.service`,
  ],
]

function said({ stdout }: Session): ReadonlyMap<string, { verdict?: string; naive?: boolean }> {
  const pairs = [...stdout.matchAll(/^([\w ]+): (\{.*\})$/gm)]
  return new Map(pairs.map(([, name = '', json = '']) => [name, JSON.parse(json)]))
}

async function tryAll(t: Test, start: string): Promise<void> {
  const BEFORE = `KEYS=${keys} ${fixture('../fixtures/owner-logins.sh')} >/dev/null 2>${keys}/owner.err &`
  const session = await runSession(home, `${start}\n${OWNER}`, { BEFORE }, 380_000)
  const verdicts = said(session)
  // The plan fails a session that ended too early: without it, no verdicts are no failures.
  t.plan(2 * table.length + 6)
  t.equal(session.code, 0, JSON.stringify(session.stderr.slice(-2000)))
  for (const [attack, reason, isNaive] of table) {
    t.match(verdicts.get(attack)?.verdict, reason, attack)
    t.equal(verdicts.get(attack)?.naive, isNaive, `${attack}, to a judge who looks at parents`)
  }
  t.equal(verdicts.get('older login')?.verdict, 'counts')
  t.equal(verdicts.get('newer login')?.verdict, 'counts')
  t.equal(verdicts.get('the button')?.verdict, 'yes', 'the session bus can be reached')
  t.equal(verdicts.get('older terminal')?.verdict, 'counts')
  t.match(verdicts.get('newer terminal')?.verdict, /this terminal was opened after/)
}

t.setTimeout(800_000)
for (const [where, start] of PLACES) {
  t.test(`with the daemon as ${where}, only the owner's answers count`, { skip }, (t) => tryAll(t, start))
}
