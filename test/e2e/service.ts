/** The service on a real `systemd --user`: socket activation, login, crashes, restarts. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { installPackage, READY, runSession, type Session, whyNoManager } from '../fixtures/user-session.js'

const skip = whyNoManager() ?? false
const home = skip === false ? installPackage(t) : ''

/** `name: value` lines of a session's output. */
function said(t: Test, { stdout, stderr, code }: Session): ReadonlyMap<string, string> {
  if (code !== 0) t.comment(`exit ${code}\n${stdout}\n${stderr}`)
  const pairs = stdout.split('\n').map((line): [string, string] => {
    const at = line.indexOf(': ')
    return [line.slice(0, at), line.slice(at + 2)]
  })
  return new Map(pairs)
}

t.test(
  'install writes the units, starts the service and says what is next; a second time it does nothing',
  { skip },
  async (t) => {
    const session = await runSession(
      home,
      `prefect-auth service status; say none $?
     prefect-auth service install --print | grep -c '^# /'; ls ~/.config/systemd/user
     prefect-auth service install; say installed $?
     first=$(pid); prefect-auth service install | head -1; [ "$first" = "$(pid)" ] && say pid same
     prefect-auth service status; say status $?
     stat -c '%a %n' "$S" "$(dirname "$S")"; say env "$(ask /v1/env | grep PREFECT_API_URL=)"
     prefect-auth status --url`,
    )
    const { stdout } = session
    t.match(stdout, /^not installed: prefect-auth service install\nnone: 4\n10\nprefect-authd.service.d\n/)
    t.match(
      stdout,
      /prefect-authd \S+ \(pid \d+\) is listening on \/run\/user\/10077\/prefect-auth\/authd\.sock/,
    )
    t.match(stdout, /starts at login[\s\S]*Log: prefect-auth logs -f/)
    t.match(stdout, /installed: 0\nAll files are up to date\.\npid: same\n/)
    t.match(stdout, /running as a systemd user service \(pid \d+\), starts at login\nstatus: 0\n/)
    t.match(stdout, /^600 .*authd\.sock\n700 /m)
    t.match(stdout, /env: export PREFECT_API_URL='http:\/\/127\.0\.0\.1:4200\/api';/)
    t.match(stdout, /^http:\/\/127\.0\.0\.1:4280$/m)
    t.equal(session.stderr, '')
  },
)

t.test('the first request starts it, also after kill -9, and no child sees LISTEN_*', { skip }, async (t) => {
  const facts = said(
    t,
    await runSession(
      home,
      `${READY}
       systemctl --user stop prefect-authd.service 2>/dev/null; say stopped "$(is prefect-authd.service)"
       prefect-auth service status
       say answer "$(ask /livez)"; say started "$(is prefect-authd.service)"
       old=$(pid); kill -9 "$old"; say again "$(ask /livez)"; [ "$old" = "$(pid)" ] || say pid new
       systemctl --user stop prefect-authd.service 2>/dev/null
       say tcp "$(curl -qsS --noproxy '*' http://127.0.0.1:4280/livez)"; say started "$(is prefect-authd.service)"`,
    ),
  )
  t.equal(facts.get('stopped'), 'inactive')
  t.equal(facts.get('answer'), '{"live":true}')
  t.equal(facts.get('started'), 'active')
  t.equal(facts.get('again'), '{"live":true}')
  t.equal(facts.get('pid'), 'new')
  t.equal(facts.get('tcp'), '{"live":true}')
})

t.test('restarted five times under load, none of 10 000 requests fails', { skip }, async (t) => {
  const session = await runSession(
    home,
    `${READY}
     node ~/load.mjs "$S" /v1/env 10000 16 >load.txt & load=$!
     for round in 1 2 3 4 5; do sleep 0.5; systemctl --user restart prefect-authd.service || echo refused; done
     kill -0 $load && echo 'under load'
     wait $load; cat load.txt`,
  )
  t.equal(session.stdout, 'under load\n{"200":10000}\n', session.stderr)
})

t.test(
  'after the next login the sockets listen and the daemon runs before any request',
  { skip },
  async (t) => {
    const kept = mkdtempSync(join(tmpdir(), 'pab-kept-'))
    t.teardown(() => rmSync(kept, { recursive: true, force: true }))
    mkdirSync(join(kept, 'home'))
    chmodSync(kept, 0o755)
    chmodSync(join(kept, 'home'), 0o777)
    t.equal((await runSession(home, `${READY}; cp -a ~/. ${kept}/home/ || true`)).code, 0)
    const facts = said(
      t,
      await runSession(
        join(kept, 'home'),
        `say socket "$(is prefect-authd.socket)"; say tcp "$(is prefect-authd-tcp.socket)"
       say service "$(is prefect-authd.service)"; say timer "$(is prefect-authd.timer)"
       say env "$(prefect-auth env | grep PREFECT_API_URL=)"`,
      ),
    )
    t.same(
      ['socket', 'tcp', 'service', 'timer'].map((name) => facts.get(name)),
      ['active', 'active', 'active', 'active'],
    )
    t.match(facts.get('env'), /^export PREFECT_API_URL=/)
  },
)
