/** Two daemons, as they are shipped, share a key by way of a real OpenBao: every command, a crash, a sealed store. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import t from 'tap'
import { startCloudSimulator } from '../../sim/simulator.js'
import { type Shipped, startShipped } from '../fixtures/shipped.js'
import { startOpenBao } from '../share/fixtures/open-bao.js'

t.setTimeout(300_000)

const key = async ({ cli }: Shipped) => (await cli(['get', 'key', '-p', 'jobs'])).stdout.trim()

t.test('the commands of a fleet', async (t) => {
  const bao = await startOpenBao(t)
  if (bao === undefined) return
  const sim = await startCloudSimulator({ bots: [{ name: 'fleet', account: 'prefect' }] })
  t.teardown(() => sim.close())
  const dir = mkdtempSync(join(tmpdir(), 'pab-share-'))
  t.teardown(() => rmSync(dir, { recursive: true, force: true }))
  const config = (name: string, rotates: boolean) => {
    const path = join(dir, `${name}.toml`)
    const rotation = rotates ? 'rotate = true\nrotate_with = "cloud"\n' : ''
    writeFileSync(join(dir, 'token'), bao.rootToken, { mode: 0o600 })
    writeFileSync(
      path,
      `[share.prod]\nstore = "vault"\nurl = "${bao.tlsUrl}"\nca_file = "${bao.caFile}"\npath = "secret/team/prod"\n${rotation}` +
        `[share.prod.auth]\nkind = "token"\ntoken = "file:${dir}/token"\n`,
      { mode: 0o600 },
    )
    return path
  }
  const start = async (name: string, rotates: boolean) => {
    const { apiUrl: PREFECT_CLOUD_API_URL, uiUrl: PREFECT_CLOUD_UI_URL } = sim
    const PREFECT_AUTH_CONFIG = config(name, rotates)
    const one = await startShipped(t, { PREFECT_CLOUD_API_URL, PREFECT_CLOUD_UI_URL, PREFECT_AUTH_CONFIG })
    const url = sim.workspaceUrl('prefect/terry')
    t.equal((await one.cli(['profile', 'create', 'jobs', '--api-url', url])).code, 0)
    return one
  }
  const rotator = await start('rotator', true)
  const reader = await start('reader', false)
  const login = await rotator.cli(['login', '--key-stdin', '-p', 'cloud', '-w', 'prefect/terry'], {
    input: sim.issueKey(),
  })
  t.equal(login.code, 0, login.stderr)

  const short = await rotator.cli(['share', 'init', 'prod', '--service-account', 'fleet', '--overlap', '5m'])
  t.match(short.stderr, /too short: at least/)
  t.match(
    (await reader.cli(['share', 'use', 'prod', '--profile', 'jobs'])).stderr,
    /share init prod/,
    'nothing is there yet',
  )
  const made = await rotator.cli(['share', 'init', 'prod', '--service-account', 'fleet', '--every', '1s'])
  t.equal(made.code, 0, made.stderr)
  for (const one of [rotator, reader]) {
    const used = await one.cli(['share', 'use', 'prod', '--profile', 'jobs'])
    t.equal(used.code, 0, used.stderr)
  }
  const first = await key(rotator)
  t.match(first, /^pnb_/)
  t.equal(await key(reader), first, 'one key on both')
  const status = await reader.cli(['share', 'status'])
  t.match(status.stdout, /number 1 of fleet[\s\S]*this one only reads/)
  t.notMatch(status.stdout, first)
  t.match((await rotator.cli(['doctor'])).stdout, /shared keys/)

  await bao.seal()
  await reader.crash()
  await reader.startAgain()
  t.equal(await key(reader), first, 'after a crash, with a sealed store')
  const sealed = await reader.cli(['share', 'status'])
  t.match(sealed.stdout, /sealed/)
  t.equal(sealed.code, 1)
  await bao.unseal()

  t.match((await rotator.cli(['share', 'rotate', 'prod'])).stderr, /--now/, 'it is not due')
  const rotated = await rotator.cli(['share', 'rotate', 'prod', '--now'])
  t.equal(rotated.code, 0, rotated.stderr)
  for (let tries = 0; tries < 240 && (await key(reader)) === first; tries += 1) await pause(500)
  const second = await key(reader)
  t.not(second, first, 'the reader has the new key')
  t.equal(await key(rotator), second)
  t.ok(sim.keys.authenticate(first), 'and the old one works on')

  const theirs = sim.issueBotKey({ bot: 'fleet', expiresAt: sim.clock.now() + 86_400_000 })
  const adopted = await rotator.cli(['share', 'adopt', 'prod'], { input: theirs })
  t.equal(adopted.code, 0, adopted.stderr)
  for (let tries = 0; tries < 60 && (await key(reader)) !== theirs; tries += 1) await pause(500)
  t.equal(await key(reader), theirs, 'a key that a person made is adopted')

  t.equal((await reader.cli(['share', 'leave', 'prod', '--profile', 'jobs'])).code, 0)
  t.not(await key(reader), theirs)
  t.ok(sim.keys.authenticate(theirs), 'at Prefect nothing changes')
  for (const { log } of [rotator, reader]) {
    for (const secret of [first, second, theirs, bao.rootToken])
      t.notOk(log().includes(secret), 'no secret in the log')
  }
})
