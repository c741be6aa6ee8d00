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
  installSimulator,
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
  for (const name of ['agent.py', 'asker.py']) copyFileSync(fixture(`./fixtures/${name}`), join(home, name))
  copyFileSync(fixture('./fixtures/terminal.py'), join(keys, 'terminal.py'))
  copyFileSync(fixture('../fixtures/notification-service.py'), join(keys, 'notification-service.py'))
  chmodSync(keys, 0o755)
  await installSimulator(home)
  await installProgram(home, 'test/e2e/fixtures/naive-authd.ts', 'naive-authd.mjs')
}

/** A simulated Prefect, the owner's logins and desktop, and what is done there. `start_daemon` is one of the PLACES. */
const OWNER = `
export S DBUS_SESSION_BUS_ADDRESS=unix:path=$XDG_RUNTIME_DIR/desk-bus
until [ -w /run/desk/want ] && [ -s /run/desk/sshd.log ]; do sleep 0.05; done
typed() { printf '%s\\n' "$2" >"/run/desk/typed-$1"; }
wait_for() { for i in $(seq 2000); do [ -e "$1" ] && return; sleep 0.05; done; echo "no $1" >&2; tail -n 20 /run/desk/shown-* asker.err >&2; exit 9; }
open() {
  touch "/run/desk/want/$1"; wait_for "/run/desk/typed-$1"
  typed "$1" "export S=$S XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR DBUS_SESSION_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS PATH=$PATH; echo \\$\\$ >~/pid-$1.part; mv ~/pid-$1.part ~/pid-$1"
  wait_for ~/pid-$1
}
question() { until ask /v1/asks | grep -o '"id":[0-9][0-9]*'; do sleep 0.1; done | sed 's/.*://'; }
answer() {
  rm -f ~/answer; typed "$1" "prefect-auth asks yes $(question) >~/answer.part 2>&1; mv ~/answer.part ~/answer"
  wait_for ~/answer; say "$2" "$(tr '\\n' ' ' <~/answer)"
}
touch /run/desk/want/desktop; wait_for /run/desk/typed-desktop; timeout 20 sh -c 'until grep -qs ready /run/desk/shown-desktop; do sleep 0.1; done' || cat /run/desk/shown-desktop >&2
node ~/sim.mjs --port 4999 >sim.txt 2>&1 & until grep -qs pnu_ sim.txt; do sleep 0.1; done
eval "$(grep ^export sim.txt)"; systemctl --user set-environment "DBUS_SESSION_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS"
start_daemon
grep -o 'pnu_[A-Za-z0-9_]*' sim.txt | prefect-auth login --key-stdin --exchange >login.txt 2>&1 || cat login.txt >&2
workspace=$(prefect-auth env | grep -o '/accounts/[^ ;'"'"']*' | head -1)
printf '%s\\n' "$(prefect-auth status --url)/proxy/cloud/api$workspace/variables/" \
  "$(prefect-auth token create --json --name agent --ask write | grep -o 'pab_[A-Za-z0-9_-]*')" >wanted
open login-1; open login-2; open terminal-1
typed login-2 'tmux new-session -d -s owner'
typed login-1 '/usr/bin/python3 ~/agent.py 2>asker.err'
wait_for ~/results
/usr/bin/python3 -c 'import json; [print(f"{name}: {value.strip()}") for name, value in json.load(open("results")).items()]'
answer login-2 'older login'; answer terminal-1 'older terminal'
open login-3; answer login-3 'newer login'; open terminal-2; answer terminal-2 'newer terminal'
typed login-2 'PREFECT_AUTH_JOB=0123456789ab bash'; answer login-2 'in a job'
cp ~/pid-login-3 ~/trace-me.part; mv ~/trace-me.part ~/trace-me; wait_for ~/traced; answer login-3 'under a debugger'
asked=$(question) before=none
# Shown for longer than it takes to read it; what was shown before has been taken away.
until shown=$(tail -n 1 /run/desk/shown-desktop | grep -o '^shown [0-9]*') && [ "$shown" = "$before" ]; do before=$shown; sleep 1.5; done
typed desktop "press \${shown#shown } yes"
for i in $(seq 100); do [ "$(question)" = "$asked" ] || break; sleep 0.1; done
say 'the button' "$(ask /v1/audit | grep -o '{[^{]*desktop notification[^}]*}' | tail -n 1)"
say 'passed' "$(sort asker.err | uniq -c | tr '\\n' ' ')"
`

const INSTALLED = 'start_daemon() { prefect-auth service install >install.txt 2>&1 || cat install.txt >&2; }'

interface Place {
  readonly where: string
  readonly start: string
  /** Without the defence, to see that the attacks would succeed. */
  readonly isNaive?: boolean
}

const PLACES: readonly Place[] = [
  { where: 'a plain process', start: started('prefect-authd') },
  { where: 'the sandboxed service', start: INSTALLED },
  {
    where: 'a plain process that looks at parents alone',
    start: started('node ~/naive-authd.mjs'),
    isNaive: true,
  },
]

function started(command: string): string {
  return `start_daemon() { ${command} >authd.log 2>&1 & until ask /livez >/dev/null 2>&1; do sleep 0.1; done; }`
}

function said({ stdout }: Session): ReadonlyMap<string, string> {
  return new Map([...stdout.matchAll(/^([\w ]+): (.*)$/gm)].map(([, name = '', text = '']) => [name, text]))
}

const ALLOWED = /"answer":"yes"|^Allowed \(\d+\): create variable mine in prefect\//

async function tryAll(t: Test, { start, isNaive = false }: Place): Promise<void> {
  const BEFORE = `KEYS=${keys} ${fixture('../fixtures/owner-logins.sh')} >/dev/null 2>>${keys}/owner.err &`
  // One after the other: the servers of tmux have their sockets in /tmp, which all sessions share.
  const session = await runSession(home, `${start}\n${OWNER}`, { BEFORE }, 300_000)
  const outcomes = said(session)
  // The plan fails a session that ended too early: without it, no outcomes are no failures.
  t.plan(table.length + 8)
  t.equal(session.code, 0, JSON.stringify(session.stderr.slice(-2000)))
  for (const [attack, reason, fools] of table) {
    const isRefused = !isNaive || !fools
    t.match(
      outcomes.get(attack),
      isNaive && isRefused ? /from below who asks/ : isRefused ? reason : ALLOWED,
      attack,
    )
  }
  t.equal(outcomes.get('forged signal'), 'still waits')
  t.match(outcomes.get('older login'), ALLOWED)
  t.match(outcomes.get('newer login'), ALLOWED)
  t.match(outcomes.get('older terminal'), ALLOWED)
  t.match(outcomes.get('newer terminal'), isNaive ? ALLOWED : /this terminal was opened after/)
  t.match(outcomes.get('the button'), /"action":"ask_accepted"/)
  // The simulator has nothing to create it in.
  const passed = isNaive ? table.filter(([, , fools]) => fools).length + 5 : 4
  t.match(outcomes.get('passed'), `${passed} 404 `, 'each yes lets one request pass')
}

t.setTimeout(800_000)
for (const place of PLACES) {
  t.test(
    `with the daemon as ${place.where}, ${place.isNaive ? 'nearly all attacks succeed' : "only the owner's answers count"}`,
    { skip },
    (t) => tryAll(t, place),
  )
}
