/** `agent run`: the unmodified Prefect client inside; what comes from inside of an agent gets past its token nowhere that we know to close, and where it does, it is said. */
import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { judge } from '../../src/asks/judge.js'
import { systemClock } from '../../src/std/clock.js'
import { pageLink } from '../../src/wire/page.js'
import { tokenAnswer } from '../../src/wire/tokens.js'
import { ask, json } from '../fixtures/api-under-test.js'
import { startAsksStage } from '../fixtures/asks-stage.js'
import { findPrefect } from '../fixtures/real-prefect.js'
import { until } from '../fixtures/shipped.js'
import {
  installPackage,
  installProgram,
  installSimulator,
  remove,
  runSession,
  whyNoManager,
} from '../fixtures/user-session.js'
import { whyNoChromium } from './fixtures/chromium.js'

t.setTimeout(300_000)
const fixture = (path: string) => fileURLToPath(new URL(path, import.meta.url))

const INSIDE = /agent_refused|runs inside the agent 'python3'/
/** What an agent that is watched tries, and how the attempt ends. */
const ATTEMPTS: readonly (readonly [what: string, outcome: RegExp])[] = [
  ['env', INSIDE],
  ['exec', INSIDE],
  ['get', INSIDE],
  ['curl', INSIDE],
  ['token', INSIDE],
  ['page', INSIDE],
  ['another agent', INSIDE],
  ['stop', INSIDE],
  ["owner's proxy", INSIDE],
  ['setsid', INSIDE],
  ['double fork', INSIDE],
  ['own tmux', INSIDE],
  ['scope below', INSIDE],
  ['shared connection', /agent_refused/],
  ['hidden', /agent_refused/],
]
/** What nothing of ours can tell from the owner: docs/agents.md says so. */
const GETS_THROUGH = ['unit', 'scope beside', "owner's tmux"]

/** The owner at two logins, of which one is the agent's; a browser; and what is left afterwards. */
const OWNER = `
until [ -w /run/desk/want ] && [ -s /run/desk/sshd.log ]; do sleep 0.05; done
typed() { printf '%s\\n' "$2" >"/run/desk/typed-$1"; }
wait_for() { for i in $(seq 400); do [ -e "$1" ] && return; sleep 0.05; done; echo "no $1" >&2; tail -n 30 /run/desk/shown-* >&2; exit 9; }
open() {
  touch "/run/desk/want/$1"; wait_for "/run/desk/typed-$1"
  typed "$1" "export S=$S XDG_RUNTIME_DIR=$XDG_RUNTIME_DIR PATH=$PATH; echo \\$\\$ >~/pid-$1.part; mv ~/pid-$1.part ~/pid-$1"
  wait_for ~/pid-$1
}
node ~/sim.mjs --port 4999 >sim.txt 2>&1 & until grep -qs pnu_ sim.txt; do sleep 0.1; done
eval "$(grep ^export sim.txt)"
prefect-auth service install >install.txt 2>&1 || cat install.txt >&2
grep -o 'pnu_[A-Za-z0-9_]*' sim.txt | prefect-auth login --key-stdin --exchange >login.txt 2>&1 || cat login.txt >&2
open login-1; open login-2; typed login-2 'tmux new-session -d -s owner'
typed login-1 'prefect-auth agent run --writes-per-hour 1 -- python3 ~/inside.py; echo $? >~/ended.part; mv ~/ended.part ~/ended'
wait_for ~/results
python3 -c 'import json; [print(f"{name}: {value.strip()}") for name, value in json.load(open("results")).items()]'
until ask /v1/asks | grep -q '"id"'; do sleep 0.1; done
say 'outside' "$(prefect-auth env | grep -c PREFECT_API_KEY)"
typed login-2 'prefect-auth ui --no-browser >~/link.part 2>&1; mv ~/link.part ~/link'
wait_for ~/link
say 'link' "$(grep -o 'http://' link)"
say 'clicked' "$(timeout 20 node ~/click.mjs "$(grep -o 'http://[^ ]*' link)" 'Yes, once' | tr '\\n' ' ')"
wait_for ~/ended
say 'written' "$(cat written)"
say 'ended' "$(cat ended)"
say 'left' "$(pgrep -cfx 'sleep 9876')"
say 'tokens' "$(prefect-auth token ls | grep -c python3)"
say 'scopes' "$(systemctl --user list-units --all --plain --no-legend 'prefect-auth-agent-*' | wc -l)"
say 'audit' "$(prefect-auth audit --token python3 --json | grep -o '"action": *"[a-z_]*"' | sort | uniq -c | tr -s ' \\n' ' ')"
say 'screen' "$(grep -a 'prefect-auth: ' /run/desk/shown-login-1 | tr '\\r\\n' '  ')"
`

t.test('inside a scope of a real user manager', { skip: whyNoManager() ?? whyNoChromium() }, async (t) => {
  const home = installPackage(t)
  const keys = mkdtempSync(join(tmpdir(), 'pab-keys-'))
  t.teardown(() => remove(keys))
  mkdirSync(join(home, '.ssh'))
  for (const name of ['host', 'laptop'])
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(keys, name)])
  writeFileSync(join(home, '.ssh/authorized_keys'), readFileSync(join(keys, 'laptop.pub'), 'utf8'))
  copyFileSync(fixture('./fixtures/inside.py'), join(home, 'inside.py'))
  copyFileSync(fixture('./fixtures/terminal.py'), join(keys, 'terminal.py'))
  copyFileSync(fixture('../fixtures/notification-service.py'), join(keys, 'notification-service.py'))
  chmodSync(keys, 0o755)
  await installSimulator(home)
  await installProgram(home, 'test/e2e/fixtures/click.ts', 'click.mjs')
  const BEFORE = `KEYS=${keys} ${fixture('../fixtures/owner-logins.sh')} >/dev/null 2>>${keys}/owner.err &`
  const session = await runSession(home, OWNER, { BEFORE }, 200_000)
  const said = new Map(
    [...session.stdout.matchAll(/^([\w' ]+): (.*)$/gm)].map(([, name = '', text = '']) => [name, text]),
  )
  t.equal(session.code, 0, JSON.stringify(session.stderr.slice(-3000)))
  for (const [what, outcome] of ATTEMPTS) t.match(said.get(what), outcome, what)
  for (const what of GETS_THROUGH) t.match(said.get(what), /PREFECT_API_KEY/, `${what}: docs/agents.md`)
  t.equal(said.get('status'), 'cloud prefect/terry 29 days', 'what holds no secret it may look at')
  t.same([said.get('read'), said.get('bookkeeping')], ['200', '403'])
  t.equal(said.get('outside'), '1', 'the owner goes on')
  t.match(said.get('link'), /^http/)
  // The simulator has nothing to create it in.
  t.match(said.get('written'), /^True 404 429 token 'python3' has used up its budget of 1 write in an hour/)
  t.equal(said.get('ended'), '5', 'the exit code of the command')
  t.same([said.get('left'), said.get('tokens'), said.get('scopes')], ['0', '0', '0'], 'nothing is left')
  const audit = said.get('audit')
  for (const action of ['token_created', 'refused', 'ask_accepted', 'write', 'token_revoked'])
    t.match(audit, `"${action}"`, `its audit has ${action}`)
  t.match(
    said.get('screen'),
    /may read; what changes something waits .* at most 1 write an hour, 120 requests a minute/,
  )
  t.match(said.get('screen'), /ended what the command left running/)
})

/** As the script of the page does it. */
function post(link: URL, path: string, body: object, more: Record<string, string> = {}) {
  const headers = {
    ...{ host: link.host, origin: link.origin, 'content-type': 'application/json' },
    ...{ 'sec-fetch-site': 'same-origin', 'sec-fetch-mode': 'cors', 'sec-fetch-dest': 'empty' },
    ...more,
  }
  return new Promise<Record<string, unknown>>((resolve, reject) => {
    const outgoing = request(
      { port: link.port, host: link.hostname, path, method: 'POST', headers },
      (answer) => {
        let text = ''
        answer.setEncoding('utf8').on('data', (piece: string) => {
          text += piece
        })
        answer.on('end', () => resolve(JSON.parse(text)))
      },
    )
    outgoing.on('error', reject).end(JSON.stringify(body))
  })
}

const INSIDE_SCRIPT = `
"$NODE" "$CLI" env >env.txt 2>&1; echo "env $?" >>env.txt
setsid -f sh -c '"$NODE" "$CLI" env >orphan.part 2>&1; mv orphan.part orphan.txt'
"$PREFECT" deployment run Testing/nightly >first.txt 2>&1; echo "$?" >first.code
echo "$PREFECT_API_URL $PREFECT_API_KEY" >token.part; mv token.part token.txt
for i in $(seq 600); do [ -e go ] && break; sleep 0.1; done
"$PREFECT" deployment run Testing/nightly >second.txt 2>&1
exit $?`

t.test('the unmodified client reads, waits for a yes, and waits out a budget', async (t) => {
  const prefect = findPrefect('3', t)
  if (prefect === undefined) return
  const clock = systemClock()
  /** What the daemon's time is ahead of ours; while `stoppedAt` is set, it stands still. */
  let aheadMs = 0
  let stoppedAt: number | undefined
  const moved = () => (stoppedAt ?? clock.monotonic()) + aheadMs
  const wall = clock.now() - clock.monotonic()
  let isJudged = true
  const { root, cli, deploy, runs, oneQuestion, list, agent } = await startAsksStage(t, prefect, {
    clock: { ...clock, now: () => wall + moved(), monotonic: moved },
    judge: (asker, answerer) => (isJudged ? judge(asker, answerer) : undefined),
  })
  const file = (name: string) => join(root, name)
  const read = (name: string) => (existsSync(file(name)) ? readFileSync(file(name), 'utf8') : `no ${name}`)
  const deployment = await deploy('Testing', 'nightly')
  const running = agent(['--writes-per-hour', '1', '--', 'sh', '-c', INSIDE_SCRIPT], { PREFECT: prefect.bin })

  const { id, digest } = await oneQuestion(() => read('first.txt'))
  const link = new URL(pageLink.parse(JSON.parse((await cli(['ui', '--json'])).stdout)).url)
  const { bearer } = await post(link, '/session', { link: link.hash.slice(1) })
  const answer = () =>
    post(link, `/v1/asks/${id}`, { accept: true, digest }, { authorization: `Bearer ${bearer}` })
  let yes = await answer()
  // In its first seconds no page's yes counts, whoever made its link.
  while (/opened just now/.test(String(yes.detail))) {
    await sleep(500)
    yes = await answer()
  }
  t.match(
    yes,
    { code: 'ask_answer_refused' },
    'the page is no way around: who made its link also started the agent',
  )
  t.match(await list(), { asks: [{ id }] })
  isJudged = false
  t.equal((await cli(['asks', 'yes', String(id)])).code, 0)
  await until(
    async () => existsSync(file('token.txt')),
    () => read('first.txt'),
    60_000,
  )
  t.equal(read('first.code'), '0\n', read('first.txt'))
  t.equal((await runs()).length, 1)

  const [api = '', token = ''] = read('token.txt').trim().split(' ')
  const url = new URL(`${api}/deployments/${deployment}/create_flow_run`)
  const place = { port: Number(url.port), host: '127.0.0.1' } as const
  const spent = await ask(place, url.pathname, { method: 'POST', token, body: {} })
  const seconds = Number(spent.headers['retry-after'])
  t.ok(spent.status === 429 && seconds > 3_000, `${spent.status} ${seconds}`)
  // The client finds three seconds of the hour left, and waits them out by itself.
  aheadMs += (seconds - 3) * 1_000
  stoppedAt = clock.monotonic()
  writeFileSync(file('go'), '')
  const socket = { socketPath: join(root, 'run', 's') }
  const refusedBudget = async () => {
    const { refused } = tokenAnswer.parse(json(await ask(socket, '/v1/tokens/sh')))
    return refused?.find(({ by }) => by === 'budget')?.count ?? 0
  }
  await until(
    async () => (await refusedBudget()) > 1,
    () => read('second.txt'),
    60_000,
  )
  aheadMs -= clock.monotonic() - (stoppedAt ?? 0)
  stoppedAt = undefined
  const again = await oneQuestion(() => read('second.txt'))
  t.not(again.id, id)
  t.equal((await cli(['asks', 'yes', String(again.id)])).code, 0)
  const ended = await running
  t.equal(ended.code, 0, read('second.txt'))
  t.equal((await runs()).length, 2)
  t.match(read('env.txt'), /\(agent_refused\)[\s\S]*env 1/)
  t.match(read('orphan.txt'), /PREFECT_AUTH_JOB names the agent/)
  t.match(ended.stderr, /there is no systemd user manager here/)
  t.match((await cli(['token', 'ls'])).stdout, /^No tokens/, 'its token has ended with it')
  t.equal((await cli(['env'])).code, 0)
})
