/** A browser that reaches nothing: the address that it ended on logs the daemon in, without a terminal. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import t, { type Test } from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { startShipped, until } from '../fixtures/shipped.js'

async function setUp(t: Test) {
  const sim = await startCloudSimulator({ accounts: [{ handle: 'prefect', workspaces: ['terry'] }] })
  t.teardown(() => sim.close())
  const broker = await startShipped(t, { PREFECT_CLOUD_API_URL: sim.apiUrl, PREFECT_CLOUD_UI_URL: sim.uiUrl })
  const said = join(broker.home, 'said')
  const read = () => readFileSync(said, { encoding: 'utf8', flag: 'a+' })
  const port = async () => {
    let found: string | undefined
    await until(
      () => {
        found = /callback=http%3A\/\/localhost%3A(\d+)/.exec(read())?.[1]
        return found !== undefined
      },
      () => `no page: ${read()}`,
    )
    return found ?? ''
  }
  return { sim, broker, said, port, read }
}

t.test('a second command takes it from stdin, and the first one ends', async (t) => {
  const { sim, broker, said, port } = await setUp(t)
  const key = sim.issueKey({ name: 'of the browser' })
  const login = broker.shell(
    `prefect-auth login --no-browser --owner terry@example.com -w prefect/terry 2>'${said}'`,
  )
  const address = `http://localhost:${await port()}/?key=${key}`

  const wrong = await broker.cli(['login', '--address-stdin'], { input: `http://localhost:1/?key=${key}\n` })
  t.match(wrong, { code: 1, stderr: /this login has port \d+ \(address_mismatch\)/ })
  const right = await broker.cli(['login', '--address-stdin'], { input: address })
  t.equal(right.code, 0, right.stderr)
  t.match(right.stderr, /in that browser's history/)
  t.match(right.stdout, /Logged in as terry/)
  t.equal((await login).code, 0)

  const { stdout } = await broker.cli(['get', 'key'])
  t.match(stdout, /^pnu_/)
  t.not(stdout.trim(), key, 'it was exchanged')
  for (const text of [wrong.stderr, right.stderr, right.stdout, broker.log()]) t.notMatch(text, key)
})

t.test('the one that waits reads it from an open pipe; what is wrong ends it', async (t) => {
  const { sim, broker, said, port } = await setUp(t)
  const key = sim.issueKey({ name: 'of the browser' })
  const begin = (fifo: string) =>
    broker.shell(
      `mkfifo ${fifo}; prefect-auth login --no-browser --address-stdin --owner terry@example.com -w prefect/terry <>${fifo} 2>'${said}'`,
    )
  const pipe = join(broker.home, 'pipe')
  const login = begin(pipe)
  await broker.shell(`echo 'http://localhost:${await port()}/?key=${key}' >'${pipe}'`)
  const done = await login
  t.equal(done.code, 0, done.stderr)

  const ended = await broker.cli(['login', '--address-stdin', '-p', 'other'], {
    input: `http://localhost:${await port()}/?key=${key}\n`,
  })
  t.match(ended, { code: 1, stderr: /a login that has ended, of profile 'cloud' \(address_mismatch\)/ })
  const nothing = await broker.cli(['login', '--address-stdin', '-p', 'other'])
  t.match(nothing, { code: 2, stderr: /no address on stdin/ })
  const both = await broker.cli(['login', '--address-stdin', '--key-stdin'])
  t.match(both, { code: 2, stderr: /--key-stdin or --address-stdin/ })
  const { stdout } = await broker.cli(['status', '--json'])
  t.same(
    JSON.parse(stdout).logins.filter(({ state }: { state: string }) => state === 'waiting'),
    [],
    'what failed waits no longer',
  )
})
