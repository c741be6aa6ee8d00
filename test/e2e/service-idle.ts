/** `idle_exit` on a real `systemd --user`: no process is left, no request fails, keys are renewed. Waits more than it works. */
import { cpSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t, { type Test } from 'tap'
import {
  installPackage,
  installSimulator,
  runSession,
  type Session,
  whyNoManager,
} from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''
if (skip === false) {
  await installSimulator(home)
  for (const name of ['idle-race.mjs', 'move-ledger.mjs']) {
    cpSync(fileURLToPath(new URL(`./fixtures/${name}`, import.meta.url)), join(home, name))
  }
}
/** Idle exits to race against; each takes ten seconds. */
const ROUNDS = process.env.PAB_LONG === '1' ? 36 : 6

/** Shell functions; `idle_exit` is ten seconds, the minimum. Output that is not under test is discarded. */
const IDLE = `
  export PREFECT_AUTH_IDLE_EXIT=10s PREFECT_AUTH_LOG_LEVEL=debug
  gone() { for _ in $(seq \${1:-300}); do [ "$(is prefect-authd.service)" = inactive ] && return; sleep 0.1; done; return 1; }
  daemons() { pgrep -u "$(id -u)" -f 'dist/[a]uthd.js' | wc -l; }
  why() { grep -o '"because":"[^"]*"' "$XDG_RUNTIME_DIR/authd.log" | tail -1; }
  install() { prefect-auth service install >install.txt 2>&1 || { cat install.txt "$XDG_RUNTIME_DIR"/authd.log >&2; exit 9; }; }
  # A timer every 20 seconds instead of every hour; the daemon asks systemd when it is next.
  every20s() { mkdir -p ~/.config/systemd/user/prefect-authd.timer.d
    printf '[Timer]\\nOnCalendar=\\nOnCalendar=*:*:0/20\\nRandomizedDelaySec=0\\nAccuracySec=1s\\n' >~/.config/systemd/user/prefect-authd.timer.d/often.conf; }
  # The simulator and an exchanged key. A finished login is kept for ten minutes, and its port for half an hour, beyond a
  # restart: forgotten here, because no test has that long.
  login() { node ~/sim.mjs --port 4999 >sim.txt 2>&1 & until grep -qs pnu_ sim.txt; do sleep 0.1; done
    eval "$(grep ^export sim.txt)"; install
    grep -o 'pnu_[A-Za-z0-9_]*' sim.txt | prefect-auth login --key-stdin --exchange >login.txt 2>&1 || cat login.txt >&2
    systemctl --user stop prefect-authd.service; rm -f ~/.local/state/prefect-auth/login-ports.json*
    systemctl --user start prefect-authd.service; }
  # Ages the key only: its renewal is due in this many seconds.
  due_in() { node ~/move-ledger.mjs ~/.local/state/prefect-auth/ledger.json "$1"; }
  key() { sed -n "s/.*PREFECT_API_KEY='\\([^']*\\)'.*/\\1/p"; }
`

function said(t: Test, { stdout, stderr, code }: Session): ReadonlyMap<string, string> {
  if (code !== 0 || stderr !== '') t.comment(`exit ${code}\n${stdout}\n${stderr}`)
  const pairs = stdout.split('\n').map((line): [string, string] => {
    const at = line.indexOf(': ')
    return [line.slice(0, at), line.slice(at + 2)]
  })
  return new Map(pairs)
}

t.setTimeout(900_000)
t.jobs = 3

t.test('no process is left, the sockets listen, and the next request is answered', { skip }, async (t) => {
  const session = await runSession(
    home,
    `${IDLE} install; gone || why
     say service "$(is prefect-authd.service)"; say processes "$(daemons)"
     say sockets "$(is prefect-authd.socket) $(is prefect-authd-tcp.socket) $(is prefect-authd.timer)"
     say status "$(prefect-auth service status)"; say code $?; say still "$(is prefect-authd.service)"
     say env "$(prefect-auth env | grep PREFECT_API_URL=)"; say awake "$(is prefect-authd.service) $(daemons)"
     say doctor "$(prefect-auth doctor | grep 'idle exit')"
     say last "$(curl -qsN --max-time 1 --unix-socket "$S" -H 'Last-Event-ID: 0123456789ab-7' http://authd/v1/events | grep -m1 ^event)"
     gone || why
     say asleep "$(prefect-auth doctor | grep ' service ')"; gone || why
     systemctl --user stop prefect-authd.timer
     say timer "$(prefect-auth service status)"
     say tcp "$(curl -qsS --noproxy '*' http://127.0.0.1:4280/livez)"
     grep -c 'idle; exiting' "$XDG_RUNTIME_DIR/authd.log"; systemctl --user is-failed prefect-authd.service`,
    {},
    170_000,
  )
  const facts = said(t, session)
  t.equal(facts.get('service'), 'inactive')
  t.equal(facts.get('processes'), '0')
  t.equal(facts.get('sockets'), 'active active active')
  t.match(facts.get('status'), /^asleep as a systemd user service: the next request starts it, starts at/)
  t.equal(facts.get('code'), '0')
  t.equal(facts.get('still'), 'inactive', 'reading the status does not start it')
  t.match(facts.get('env'), /^export PREFECT_API_URL=/)
  t.equal(facts.get('awake'), 'active 1')
  t.match(facts.get('doctor'), /^ok .* after 10s without a request/)
  t.equal(facts.get('last'), 'event: events.gap', 'an earlier watcher learns that events are missing')
  t.match(facts.get('asleep'), /^ok .* asleep until this command started it, starts at login/)
  t.match(
    facts.get('timer'),
    /keys are not renewed while it is asleep: systemctl --user start prefect-authd\.timer/,
  )
  t.equal(facts.get('tcp'), '{"live":true}')
  t.match(session.stdout, /\n3\nactive\n$/)
})

t.test('no request to either listener is lost around the moment of an idle exit', { skip }, async (t) => {
  const { stdout, stderr } = await runSession(
    home,
    `${IDLE} install
     node ~/idle-race.mjs "$XDG_RUNTIME_DIR/authd.log" "$S" http://127.0.0.1:4280 ${ROUNDS} 10000`,
    {},
    60_000 + ROUNDS * 15_000,
  )
  t.comment(stdout)
  const { outcomes, caught } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '{}')
  t.same(outcomes, { 200: ROUNDS * 250 + 1 }, stderr)
  t.ok(caught >= ROUNDS / 2, 'it exited during the requests')
})

t.test('the timer starts it again for a renewal that became due', { skip }, async (t) => {
  const facts = said(
    t,
    await runSession(
      home,
      `${IDLE} every20s; login; say first "$(prefect-auth env | key)"
       gone || why
       due_in -1; say away "$(is prefect-authd.service)"
       until grep -q 'key renewed' "$XDG_RUNTIME_DIR/authd.log"; do sleep 0.2; done
       say renewed yes; gone || why; say left "$(is prefect-authd.service)"
       until [ "$(is prefect-authd.service)" = active ]; do sleep 0.1; done; say returned $(($(date +%s) % 20))
       say second "$(prefect-auth env | key)"; prefect-auth doctor | grep renewal`,
      {},
      100_000,
    ),
  )
  t.match(facts.get('first'), /^pnu_/)
  t.equal(facts.get('away'), 'inactive')
  t.equal(facts.get('renewed'), 'yes')
  t.equal(facts.get('left'), 'inactive', 'and it exits again')
  t.ok(Number(facts.get('returned')) < 6, `until the timer comes, not at once (${facts.get('returned')} s)`)
  t.match(facts.get('second'), /^pnu_/)
  t.not(facts.get('second'), facts.get('first'))
})

t.test(
  'keeps running for a renewal before the next timer, for a watcher, for a login',
  { skip },
  async (t) => {
    const facts = said(
      t,
      await runSession(
        home,
        `${IDLE} login; say key "$(prefect-auth env | key)"; gone || why
       due_in 45; ask /livez >/dev/null; first=$(pid)
       sleep 20; [ "$first" = "$(pid)" ] && say soon "$(why)"
       until grep -q 'key renewed' "$XDG_RUNTIME_DIR/authd.log"; do sleep 0.2; done
       [ "$first" = "$(pid)" ] && say renewed same
       gone 600 || why; ask /livez >/dev/null; first=$(pid)
       curl -qsN --max-time 25 --unix-socket "$S" http://authd/v1/events >/dev/null; [ "$first" = "$(pid)" ] && say watched "$(why)"
       prefect-auth login --no-browser >/dev/null 2>&1 & login=$!; sleep 2; kill -9 $login
       sleep 20; [ "$first" = "$(pid)" ] && say login "$(why)"`,
        {},
        200_000,
      ),
    )
    t.match(facts.get('soon'), /a key is due in \d+s, before the timer fires/)
    t.equal(facts.get('renewed'), 'same')
    t.match(facts.get('watched'), /1 connection\(s\) are open/)
    t.match(facts.get('login'), /a login is open/)
  },
)

t.test('keeps running, and says so, if nothing would start it again', { skip }, async (t) => {
  const facts = said(
    t,
    await runSession(
      home,
      `${IDLE}
       prefect-authd >/dev/null 2>"$XDG_RUNTIME_DIR/authd.log" & by_hand=$!
       until ask /livez >/dev/null 2>&1; do sleep 0.1; done; sleep 13
       say hand "$(ask /livez)"; say doctor "$(prefect-auth doctor | grep -A1 'idle exit' | tr -s '\\n ' ' ')"
       say status "$(prefect-auth status | grep idle_exit)"; kill $by_hand; wait $by_hand
       login; systemctl --user stop prefect-authd.timer; ask /livez >/dev/null; sleep 14; say timer "$(daemons) $(why)"`,
    ),
  )
  t.equal(facts.get('hand'), '{"live":true}')
  t.match(
    facts.get('doctor'),
    /^warning idle exit idle_exit has no effect: no systemd socket .* service install/,
  )
  t.match(facts.get('status'), /idle_exit has no effect/)
  t.match(facts.get('timer'), /^1 .*prefect-authd\.timer does not run/)
})
