/**
 * What servers receive from Prefect's clients, plain and through us, in every situation and version: URL, Authorization, TLS,
 * headers, profile. docs/clients.md has the rows in which the two may differ.
 */
import { randomUUID } from 'node:crypto'
import t, { type Test } from 'tap'
import { findPrefect, type Which } from '../fixtures/real-prefect.js'
import { type Cell, judge, OF_OLD_VERSIONS, ROWS, type Verdict } from './fixtures/battery-judge.js'
import { type Receiver, startEgress, startReceiver, VOUCHERS, type Voucher } from './fixtures/receiver.js'
import { SITUATIONS, type Situation } from './fixtures/situations.js'
import { generateSituations } from './fixtures/situations-random.js'
import { type Env, type Job, type Stage, setUp } from './fixtures/stage.js'
import { hasGaps } from './fixtures/version-gaps.js'
import { startWarmPrefect, type WarmPrefect } from './fixtures/warm-prefect.js'

t.setTimeout(3_600_000)

const AT_ONCE = 4
/** PAB_BATTERY_SEED repeats a failure, PAB_BATTERY_RUNS makes it longer, PAB_BATTERY_ONLY is a pattern for the names of the situations to run. */
const seed = Number(process.env.PAB_BATTERY_SEED ?? 11)
const runs = Number(process.env.PAB_BATTERY_RUNS ?? 50)
const only = process.env.PAB_BATTERY_ONLY ?? ''

/** The three that are always asked, and the Pythons of PAB_BATTERY_PYTHONS, separated by colons. */
async function startClients(t: Test, receiver: Receiver): Promise<readonly WarmPrefect[]> {
  const known = (['3', '34', '2'] satisfies Which[]).flatMap((which) => findPrefect(which, t)?.python ?? [])
  const more = (process.env.PAB_BATTERY_PYTHONS ?? '').split(':').filter(Boolean)
  return Promise.all([...known, ...more].map((python) => startWarmPrefect(t, python, receiver.publicCa)))
}

t.test('what a server receives is what the profile says, or the difference is told', async (t) => {
  const receiver = await startReceiver(t)
  const clients = await startClients(t, receiver)
  if (clients.length === 0) return
  const all = [...SITUATIONS, ...generateSituations(seed, runs)].filter(({ name }) =>
    new RegExp(only).test(name),
  )
  t.ok(only !== '' || all.length >= 100 + Math.min(runs, 30), `${all.length} situations`)
  const queue = [...all]
  const verdicts: Verdict[] = []
  const work = async () => {
    for (let situation = queue.shift(); situation !== undefined; situation = queue.shift()) {
      const verdict = await examine(t, situation, receiver, clients)
      t.same(verdict.faults, [], situation.name)
      verdicts.push(verdict)
    }
  }
  await Promise.all(Array.from({ length: AT_ONCE }, work))
  const differences = verdicts.flatMap((verdict) => verdict.differences)
  for (const [what, count] of countBy(differences, ({ where, row }) => `${where}: ${row}`))
    t.comment(`${what}: ${count}`)
  if (only !== '') return
  const cells = verdicts.flatMap((verdict) => verdict.cells)
  for (const { version } of clients) {
    const sent = cells.filter((cell) => cell.version === version && cell.plain.startsWith('[')).length
    t.ok(sent > all.length / 2, `${version} mostly reaches a server: ${sent} times`)
  }
  const rows = new Set(differences.flatMap(({ row }) => row ?? []))
  const isOld = clients.some(({ version }) => hasGaps(version))
  const expected = Object.keys(ROWS).filter((row) => isOld || row !== OF_OLD_VERSIONS)
  t.same([...rows].sort(), expected.sort(), 'no row is idle')
  const requests = cells.length * WAYS
  process.stderr.write(`# battery: ${all.length} situations, ${cells.length} rows, ${requests} compared\n`)
})

/** Plain, with nothing but the profile, `exec`, `env`, `exec --proxy`. */
const WAYS = 5

async function examine(
  t: Test,
  situation: Situation,
  receiver: Receiver,
  clients: readonly WarmPrefect[],
): Promise<Verdict> {
  const egress = await startEgress(t, receiver)
  const stage = await setUp(situation, receiver, {
    HTTPS_PROXY: egress.url,
    SSL_CERT_FILE: receiver.publicCa,
  })
  const jobs: Job[] = []
  const start = async (job: Promise<Job>) => {
    jobs.push(await job)
    return job
  }
  try {
    const exec = await start(stage.exec('node'))
    const shown = {
      ...{ situation, exec, execBySh: await start(stage.exec('sh')) },
      ...{ env: await start(stage.evaluate('node')), envBySh: await start(stage.evaluate('sh')) },
      proxy: await start(stage.exec('node', '--proxy')),
    }
    const cells: Cell[] = []
    for (const voucher of situation.isTls ? VOUCHERS : (['public'] as const)) {
      egress.vouchedBy(voucher)
      const ask = asker(receiver, voucher, situation)
      cells.push(...(await Promise.all(clients.map((client) => askAll(client, ask, stage, shown)))))
    }
    return judge({ ...shown, cells })
  } finally {
    for (const job of jobs) await job.end()
    await stage.close()
  }
}

type Ask = (client: WarmPrefect, env: Env, cwd: string) => Promise<string>

async function askAll(
  client: WarmPrefect,
  ask: Ask,
  { env, cleanEnv, folder, cleanFolder }: Stage,
  jobs: Readonly<Record<'exec' | 'env' | 'proxy', Job>>,
): Promise<Cell> {
  const known = new Map<string, Promise<string>>()
  const once = (env: Env | undefined, cwd = folder) => {
    if (env === undefined) return undefined
    const same = JSON.stringify([cwd, relevant(env)])
    const asked = known.get(same) ?? ask(client, env, cwd)
    known.set(same, asked)
    return asked
  }
  return {
    version: client.version,
    plain: (await once(env)) ?? '',
    clean: (await once(cleanEnv, cleanFolder)) ?? '',
    exec: await once(jobs.exec.env),
    env: await once(jobs.env.env),
    // Where Prefect's built-in profile leads, there is nothing for the daemon.
    proxy: await once(jobs.exec.env?.PREFECT_API_URL?.includes(':4200/') ? jobs.exec.env : jobs.proxy.env),
  }
}

/** What a client might look at, in the order of names. */
function relevant(env: Env): [string, string][] {
  return Object.entries(env)
    .filter(([name]) => /^prefect_|proxy$|^ssl_/i.test(name))
    .sort(([a], [b]) => (a < b ? -1 : 1))
}

/** What the server received, as one line of text; else how far the client got. */
function asker(receiver: Receiver, voucher: Voucher, { isTls }: Situation): Ask {
  return async (client, env, cwd) => {
    const id = randomUUID()
    const { kind, error } = await client.ask({
      env,
      cwd,
      path: `/flow_runs/${id}`,
      port: receiver.tlsPort(voucher),
      localPort: receiver.port,
    })
    const received = receiver.take(id)
    if (received.length > 0) return JSON.stringify(received).replaceAll(id, 'ID')
    // The proxy finds the certificate wrong in place of the client, which it tells to wait.
    if (isTls && kind === 'parked') return 'untrusted'
    return `${kind}${error === undefined || kind === 'untrusted' ? '' : `: ${error}`}`
  }
}

function countBy<T>(items: readonly T[], nameOf: (item: T) => string): [string, number][] {
  const counts = new Map<string, number>()
  for (const item of items) counts.set(nameOf(item), (counts.get(nameOf(item)) ?? 0) + 1)
  return [...counts].sort()
}
