/**
 * Upgrades below a running worker, from npm to a wheel and from a wheel to the next: the worker stays the same process, no request
 * fails, and doctor names whatever is half done.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import t, { type Test } from 'tap'
import { buildWheelOf } from '../fixtures/other-version.js'
import { findPrefect, type PrefectClient } from '../fixtures/real-prefect.js'
import {
  installPackage,
  installSimulator,
  READY,
  runSession,
  whyNoManager,
} from '../fixtures/user-session.js'
import { cornerWithoutNode, findWheels, whyNoWheels } from '../fixtures/wheels.js'

t.setTimeout(900_000)
const skip = (whyNoWheels() ?? false) || (whyNoManager() ?? false)
const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8'))
const NEXT = '97.0.0'

const FLOW = `from prefect import flow

@flow
def hello():
    return 1
`
/** Made with the API of the server itself, every few seconds; prints nothing. */
const SCHEDULE = `import json, time, urllib.request
def post(path, body):
    call = urllib.request.Request("http://127.0.0.1:4200/api" + path, json.dumps(body).encode(), {"content-type": "application/json"})
    for wait in range(20):  # its database is one file, and busy now and then
        try:
            return json.load(urllib.request.urlopen(call))
        except OSError as error:
            last = error
            time.sleep(1)
    raise last
def states():
    return [run["state_name"] for run in post("/flow_runs/filter", {})]
`

t.test('npm to wheel, wheel to wheel', { skip }, async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const wheels = findWheels(t)
  const next = buildWheelOf(t, { version: NEXT, tool: wheels.tool })
  const home = installPackage(t)
  await installSimulator(home)
  for (const [folder, wheel] of [
    ['wheels', wheels.broker],
    ['next', next],
  ] as const) {
    mkdirSync(join(home, folder))
    cpSync(wheel, join(home, folder, basename(wheel)))
  }
  cpSync(wheels.index, join(home, 'wheels'), { recursive: true })
  cpSync(wheels.tool('uv'), join(home, 'uv'))
  mkdirSync(join(home, 'work'))
  writeFileSync(join(home, 'work', 'hello.py'), FLOW)
  writeFileSync(join(home, 'schedule.py'), SCHEDULE)
  const { program: python, before } = openPrefect(t, prefect)
  const node = process.execPath
  const session = await runSession(
    home,
    `export PYTHONDONTWRITEBYTECODE=1 DO_NOT_TRACK=1 NO_COLOR=1 PREFECT_SERVER_ANALYTICS_ENABLED=false
     px() { ${python} -m prefect --no-prompt "$@"; }
     job() { env MORE=$HOME ${python} -c "from schedule import *
$1"; }
     (export PREFECT_HOME=~/server PREFECT_SERVER_UI_ENABLED=false; px server start --host 127.0.0.1 --port 4200 >server.txt 2>&1 &)
     limit() { for i in $(seq 400); do "$@" && return; sleep 0.3; done; say 'waited in vain for' "$*"; tail -n 20 *.txt >&2; exit 9; }
     limit curl -qfs -o /dev/null http://127.0.0.1:4200/api/health
     cp ${node} ~/node-of-npm; mkdir ~/npm; ln -s ~/node-of-npm ~/npm/node; cp ~/node-of-npm ~/sim-node
     ~/sim-node ~/sim.mjs --port 4999 --backend http://127.0.0.1:4200/api >sim.txt 2>&1 & limit grep -qs pnu_ sim.txt
     export PREFECT_CLOUD_API_URL=http://127.0.0.1:4999/api PREFECT_CLOUD_UI_URL=http://127.0.0.1:4999
     OLD=$PATH; PATH=$HOME/npm:$PATH; ${READY}
     grep -o 'pnu_[A-Za-z0-9]*' sim.txt | prefect-auth login --profile cloud --key-stdin >login.txt 2>&1; say login $?
     cd ~/work
     through() { prefect-auth exec --proxy -p cloud -- ${python} -m prefect --no-prompt "$@"; }
     { through work-pool create --type process p && through deploy ./hello.py:hello -n d -p p; } >~/deploy.txt 2>&1; say deployed $?
     prefect-auth exec --proxy -p cloud -- env PREFECT_WORKER_QUERY_SECONDS=2 ${python} -m prefect worker start --pool p --type process >~/worker.txt 2>&1 & W=$!
     cd; limit grep -q 'started!' worker.txt
     worker() { for p in /proc/[0-9]*; do grep -qsz '^worker$' $p/cmdline && grep -qs '^python' $p/comm && echo "\${p#/proc/} $(cut -d' ' -f22 $p/stat)"; done; }
     BEGAN=$(worker); say worker "$BEGAN"
     job "
while True:
    if sum(name not in ('Completed', 'Failed', 'Crashed') for name in states()) < 2:
        post('/deployments/%s/create_flow_run' % post('/deployments/filter', {})[0]['id'], {'state': {'type': 'SCHEDULED'}})
    time.sleep(2)" >schedule.txt 2>&1 & JOBS=$!
     A=$(prefect-auth status --url); TOKEN=$(prefect-auth token create --name load --profile cloud)
     W1=$(prefect-auth status --json | grep -o '"workspace_id": *"[^"]*"' | head -1 | cut -d'"' -f4)
     export TOKEN; ~/sim-node ~/load.mjs "$S" /v1/env?profile=cloud ~/stop 2 >load.txt & L1=$!
     ~/sim-node ~/load.mjs "\${A#http://}" /proxy/cloud/api/me/ ~/stop 2 >proxy-load.txt & L2=$!
     sound() { say "$1" "$(prefect-auth doctor 2>&1 | grep -E '^(warning|problem) +(daemon|units|service|installation)' | tr -s ' \\n' ' ')"; }
     runs() { job "
before = states().count('Completed')
until = time.time() + 120
while states().count('Completed') < before + 2 and time.time() < until: time.sleep(1)
print('two more completed' if states().count('Completed') >= before + 2 else states())"; }
     say npm "$(runs)"; sound healthy

     export UV_OFFLINE=1 UV_NO_INDEX=1 UV_FIND_LINKS=~/wheels UV_PYTHON=/usr/bin/python3
     ~/uv tool install -q ~/wheels/prefect_auth_broker-*.whl 2>uv.txt; say tool $?
     PATH=~/.local/bin:$HOME/npm:$OLD; hash -r; sound 'two copies'
     mv ~/prefix ~/away; PATH=~/.local/bin:$OLD; hash -r; sound 'removed'
     rm -r ~/away ~/npm ~/node-of-npm
     prefect-auth service install >upgrade.txt 2>&1; say upgraded $?; sound 'after the first'; say wheel "$(runs)"

     ~/uv tool install -q --force ~/next/prefect_auth_broker-*.whl 2>>uv.txt; say next $?; hash -r
     say command "$(prefect-auth --version)"; sound 'newer command'
     prefect-auth service install >>upgrade.txt 2>&1; say 'upgraded again' $?
     say daemon "$(ask /v1/status | grep -o '"version":"[^"]*"' | head -1)"; sound 'after the second'; say 'next wheel' "$(runs)"
     sed -i 's/^Description=.*/Description=of an older version/' ~/.config/systemd/user/prefect-authd.service; sound stale
     prefect-auth service install >>upgrade.txt 2>&1; sound 'at the end'

     kill $JOBS; job "
until = time.time() + 120
while set(states()) != {'Completed'} and time.time() < until: time.sleep(1)
print('runs:', ' '.join(sorted(set(states()))))"
     touch stop; wait $L1 $L2; say 'requests' "$(cat load.txt)"; say 'proxied' "$(cat proxy-load.txt)"
     say 'same worker' "$([ "$(worker)" = "$BEGAN" ] && echo yes)"
     say complaints "$(sed -E 's/^[0-9:.]+ [|]/|/' worker.txt | grep -E ' (ERROR|CRITICAL) |\\b401\\b|ConnectError|refused' | cut -c1-300 | sort | uniq -c | tr '\\n' ' ')"
     say dropped "$(grep -c 'Switching to polling' worker.txt)"; say reconnected "$(grep -c 'reconnected to the events stream' worker.txt)"
     kill $W; cat upgrade.txt uv.txt deploy.txt; cat worker.txt | tail -n 200`,
    { PATH: cornerWithoutNode(t), BEFORE: before },
    800_000,
  )
  const lines = new Map(
    session.stdout.split('\n').map((line): [string, string] => {
      const at = line.indexOf(': ')
      return [line.slice(0, at), line.slice(at + 2)]
    }),
  )
  const say = (name: string) => lines.get(name) ?? ''
  const all = `${session.stdout}${session.stderr}`
  t.same(
    ['login', 'deployed', 'tool', 'upgraded', 'next', 'upgraded again'].map(say),
    ['0', '0', '0', '0', '0', '0'],
    all,
  )
  for (const stage of ['npm', 'wheel', 'next wheel']) t.equal(say(stage), 'two more completed', stage)
  t.match(say('command'), NEXT)
  t.match(say('daemon'), NEXT)
  t.equal(say('same worker'), 'yes')
  // The last run may be under way.
  t.match(say('runs'), /^Completed( (Pending|Running|Scheduled|Submitting))*$/)
  t.equal(say('complaints'), '', `no request of the worker or of a run failed:\n${session.stdout}`)
  t.match(say('requests'), /^\{"200":\d+\}$/)
  // While one daemon hands over to the next a proxied request may be told to wait, which Prefect's clients do.
  t.match(say('proxied'), /^\{"200":\d+(,"503":\d+)?\}$/)

  // Its WebSocket ends with the daemon that served it, and Prefect opens another, unless the run is over before.
  t.ok(Number(say('reconnected')) > 0, `WebSockets come back: ${say('reconnected')} of ${say('dropped')}`)
  for (const stage of ['healthy', 'after the first', 'after the second', 'at the end'])
    t.equal(say(stage), '', stage)
  t.match(
    say('two copies'),
    /warning installation the service runs the copy in \S+prefix\S+, this command is in \S+uv\S+/,
  )
  t.match(say('removed'), /problem installation the service starts \S+ which is gone/)
  t.match(
    say('newer command'),
    new RegExp(`daemon the daemon is version ${version}, this command is version ${NEXT}`),
  )
  t.match(say('stale'), /warning units outdated: \S+\/prefect-authd\.service/)
})

/**
 * The real Prefect where the session's user can read it: its Python and its packages are mounted there by `before`, in the
 * session's own mounts.
 */
function openPrefect(t: Test, { python }: PrefectClient) {
  const dir = mkdtempSync(join(tmpdir(), 'pab-prefect-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  for (const name of ['packages', 'python']) mkdirSync(join(dir, name))
  chmodSync(dir, 0o755)
  const ask =
    'import os,sys,sysconfig; print(sysconfig.get_path("purelib"), os.path.realpath(sys.executable), sep="\\n")'
  const [packages = '', program = ''] = execFileSync(python, ['-c', ask], { encoding: 'utf8' })
    .trim()
    .split('\n')
  const base = dirname(dirname(program))
  const at = (name: string) => join(dir, name)
  writeFileSync(
    at('run'),
    `#!/bin/sh\nexport LD_LIBRARY_PATH='${at('python/lib')}' PYTHONPATH="\${MORE:+$MORE:}${at('packages')}"\nexec '${at('python/bin')}/${basename(program)}' "$@"\n`,
    { mode: 0o755 },
  )
  return {
    program: at('run'),
    before: `mount --bind '${packages}' '${at('packages')}'; mount --bind '${base}' '${at('python')}'`,
  }
}
