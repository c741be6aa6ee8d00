// The shipped daemon as a service runs it, by the launcher that `prefect-auth service install` writes, with a home of its own.
import { execFileSync, spawnSync } from 'node:child_process'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { tsImport } from 'tsx/esm/api'
import { ask, dist, env, home, isQuick, start, stop, untilAnswers } from './lib.mjs'

const { GUARDED_FLAGS, renderLauncher } = await tsImport('../src/cli/service/templates.ts', import.meta.url)
const guarded = GUARDED_FLAGS.filter(
  (flag) => spawnSync(process.execPath, [flag, '-e', '0'], { stdio: 'ignore' }).status === 0,
)

const id = (digit) => `${digit.repeat(8)}-0000-4000-8000-${digit.repeat(12)}`

/** One profile; `letter` makes it another key. */
export function oneProfile(letter = 'x') {
  return `active = "cloud"\n[profiles.cloud]\nPREFECT_API_URL = "https://api.prefect.cloud/api/accounts/${id('0')}/workspaces/${id('1')}"\nPREFECT_API_KEY = "pnu_${letter.repeat(36)}"\n`
}

/** A home with these profiles, and the daemon's environment in it. `from`: a `dist/`; `flags`: more of them for Node. */
export function makePlace(name, profiles = oneProfile(), { from = dist, flags = [], env: more = {} } = {}) {
  const path = join(home, name)
  const place = {
    ...{ path, socket: join(path, 's'), state: join(path, 'state'), launcher: join(path, 'launcher') },
    writeProfiles(text) {
      writeFileSync(join(path, '.prefect', 'profiles.toml'), text, { mode: 0o600 })
    },
  }
  mkdirSync(join(path, '.prefect'), { recursive: true, mode: 0o700 })
  place.writeProfiles(profiles)
  const facts = { node: process.execPath, program: join(from, 'authd.js'), path: ['/usr/bin'] }
  writeFileSync(place.launcher, renderLauncher({ ...facts, flags: [...guarded, ...flags] }), { mode: 0o700 })
  place.env = {
    ...env,
    HOME: path,
    PREFECT_AUTH_SOCKET: place.socket,
    PREFECT_AUTH_STATE_DIR: place.state,
    PREFECT_AUTH_PORT: 'off',
    PREFECT_AUTH_VAULT_BACKEND: 'file',
    ...more,
  }
  place.cli = (...args) =>
    execFileSync(process.execPath, [join(from, 'auth.cjs'), ...args], {
      ...{ env: place.env, encoding: 'utf8' },
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim()
  return place
}

/** Resolves once it answers. */
export async function startAt({ launcher, env: own, socket }, everyMs = 20) {
  const child = start('/bin/sh', [launcher], { env: own })
  await untilAnswers(socket, everyMs)
  return child
}

/** After its first start, and with its code cache written. */
export async function settle(place) {
  const first = await startAt(place)
  await ask(place.socket, '/v1/credentials')
  await sleep(isQuick ? 11_000 : 20_000)
  await stop(first)
}

let shared

/** The daemon that most subjects ask: a later start, with a key to give out, on a unix socket and TCP. */
export function startDaemon() {
  shared ??= (async () => {
    const place = makePlace('ours', oneProfile(), { env: { PREFECT_AUTH_PORT: '0' } })
    await settle(place)
    const { pid } = await startAt(place)
    return { ...place, pid }
  })()
  return shared
}
