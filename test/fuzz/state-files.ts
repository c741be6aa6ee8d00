/** Damaged state files: the daemon starts or says why not, loses no key and no token, and leaves the original to the owner. */

import { chmodSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'
import { BrokerError, type ErrorCode } from '../../src/base/errors.js'
import { journalEntry, keyRecord, portRecord, profileRecord } from '../../src/daemon/state-schemas.js'
import { tokenRecord } from '../../src/daemon/token-schemas.js'
import { ask } from '../fixtures/daemon-program.js'
import { fuzz, mutate, type Random } from './fixtures/fuzz.js'
import { damagedRecord, isFields, oddValue, parseFields } from './fixtures/json.js'
import { copyState, filesIn, makeState, secretIn, USERS } from './fixtures/state.js'

type Files = ReadonlyMap<string, Buffer>

/** Why a start may be refused. Everything else is a crash. */
const REFUSALS: readonly ErrorCode[] = [
  'state_corrupt',
  'state_newer',
  'state_dir_unsafe',
  'vault_corrupt',
  'disk_failed',
  'setting_invalid',
]

const LISTS = {
  profiles: profileRecord,
  keys: keyRecord,
  changes: journalEntry,
  tokens: tokenRecord,
  ports: portRecord,
} as const
const DOCUMENTS = [
  'ledger.json',
  'ledger.json',
  'tokens.json',
  'login-ports.json',
  'vault.json',
  'vault/data-key.json',
]

/** What was done to the copy. Profiles and tokens that are not concerned must be served as before. */
interface Damage {
  readonly name: string
  /** Profiles whose key need not be served. */
  readonly profiles: ReadonlySet<string>
  /** Ids of tokens that need not be recognised. */
  readonly tokens: ReadonlySet<string>
  /** The daemon may refuse to start. */
  readonly mayRefuse: boolean
}

const ALL = new Set<string>([...USERS, 'srv'])
const NONE: ReadonlySet<string> = new Set()

t.test('starts over damaged state, and loses nothing of what is whole', async (t) => {
  const { sim, root, start, served, tokens, template, secrets } = await makeState(t)
  const whole = filesIn(template)
  const tokenIds = idsOf(whole)
  const auditLines = new Set(linesOf(whole.get('audit.jsonl')))
  await fuzz(t, async (random) => {
    const { place, stateDir, remove } = await copyState(root)
    sim.forgetRequests()
    const damage = damageOf(random, stateDir, whole)
    const before = filesIn(stateDir)
    const say = (what: string) => new Error(`${damage.name}: ${what}`)
    let daemon: Awaited<ReturnType<typeof start>> | undefined
    try {
      daemon = await start(place).catch((error: unknown) => {
        if (!(error instanceof BrokerError)) throw error
        if (!REFUSALS.includes(error.code) || !damage.mayRefuse) {
          throw say(`refused with ${error.code}: ${error.message}`)
        }
        requireNoSecret(`${error.message} ${error.hint}`, secrets, say)
        return undefined
      })
      if (daemon !== undefined) {
        await requireServed(place, damage, before, say)
        await daemon.close()
        requireNoSecret(daemon.logged(), secrets, say)
      }
      requireKept(before, filesIn(stateDir), say)
      for (const { method, path } of sim.requests) {
        if (method === 'DELETE') throw say(`${method} ${path} at Prefect`)
      }
    } finally {
      await daemon?.close()
      await remove()
    }
  })

  async function requireServed(
    place: string,
    damage: Damage,
    before: Files,
    say: (what: string) => Error,
  ): Promise<void> {
    const owner = (path: string) => ask(join(place, 'run', 's'), 'GET', path)
    for (const { profile, secret } of served) {
      const { status, text } = await owner(`/v1/credentials?profile=${profile}`)
      if (status >= 500 && !/vault|disk/.test(text)) throw say(`${profile}: ${text}`)
      const found = secretIn(text)
      if (found !== undefined && found !== secret) throw say(`${profile} is served another key`)
      if (found === undefined && !damage.profiles.has(profile)) throw say(`${profile} is not served: ${text}`)
    }
    for (const [at, token] of tokens.entries()) {
      const headers = { authorization: `Bearer ${token}` }
      const { status, text } = await ask(join(place, 'r', 's'), 'GET', '/v1/status', undefined, headers)
      if (status !== 200 && !damage.tokens.has(tokenIds[at] ?? ''))
        throw say(`a live token was answered ${status}: ${text}`)
    }
    const { status, text } = await owner('/v1/audit')
    const isNamed = text.includes('disk_failed') && damage.name.endsWith(' audit.jsonl')
    if (status !== 200 && !isNamed) throw say(`the audit log: ${text}`)
    const entries = parseFields(text)?.entries
    const intact = linesOf(before.get('audit.jsonl')).filter((line) => auditLines.has(line)).length
    if (status === 200 && valuesOf(entries).length < intact) throw say(`the audit log lost a line: ${text}`)
  }
})

function damageOf(random: Random, stateDir: string, whole: Files): Damage {
  switch (random.below(4)) {
    case 0:
    case 1:
      return damageRecord(random, stateDir, whole)
    case 2:
      return damageBytes(random, stateDir, whole)
    default:
      return damageFile(random, stateDir, whole)
  }
}

/** One record of one list, or a field of the document itself. */
function damageRecord(random: Random, stateDir: string, whole: Files): Damage {
  const name = random.pick(DOCUMENTS)
  const fields = parseFields(String(whole.get(name)))
  if (fields === undefined) throw new Error(`${name} is not there`)
  const lists = Object.keys(fields).filter((list) => typeof fields[list] === 'object' && !random.once(8))
  if (lists.length === 0) {
    const field = random.pick([...Object.keys(fields), 'unknown'])
    fields[field] = oddValue(random)
  } else {
    const list = random.pick(lists)
    fields[list] = withDamage(random, fields[list])
  }
  const bytes = Buffer.from(`${JSON.stringify(fields)}\n`)
  writeFileSync(join(stateDir, name), bytes)
  return { name: `record in ${name}`, ...concernedBy(name, bytes, whole) }
}

function withDamage(random: Random, list: unknown): unknown {
  if (Array.isArray(list)) {
    const at = random.below(list.length + 1)
    return [...list.slice(0, at), damagedRecord(random, list[at] ?? list[0]), ...list.slice(at + 1)]
  }
  if (!isFields(list)) return oddValue(random)
  const name = random.pick([...Object.keys(list), '__proto__', 'fresh'])
  const entries = Object.entries(list).filter(([other]) => other !== name)
  return Object.fromEntries([...entries, [name, damagedRecord(random, list[name] ?? Object.values(list)[0])]])
}

/** Any bytes of any file. */
function damageBytes(random: Random, stateDir: string, whole: Files): Damage {
  const name = random.pick([...whole.keys()])
  const old = whole.get(name) ?? Buffer.alloc(0)
  const cut = random.once(3) ? old.subarray(0, random.below(old.length + 1)) : old
  const bytes = mutate(random, mutate(random, cut))
  writeFileSync(join(stateDir, name), bytes)
  return { name: `bytes of ${name}`, ...concernedBy(name, bytes, whole) }
}

/** A file that is gone, of another kind, open to others, or older than the others. */
function damageFile(random: Random, stateDir: string, whole: Files): Damage {
  const name = random.pick([...whole.keys()])
  const path = join(stateDir, name)
  const kind = random.pick(['gone', 'directory', 'link', 'open', 'empty', 'previous', 'loop'])
  if (kind === 'open') chmodSync(path, 0o644)
  else if (kind === 'previous') writeFileSync(path, whole.get(`${name}.previous`) ?? whole.get(name) ?? '')
  else {
    rmSync(path)
    if (kind === 'directory') mkdirSync(path)
    if (kind === 'link') symlinkSync('/dev/null', path)
    if (kind === 'loop') symlinkSync(path, path)
    if (kind === 'empty') writeFileSync(path, '', { mode: 0o600 })
  }
  const isNoFile = kind !== 'empty' && kind !== 'previous'
  const { profiles, tokens, mayRefuse } = concernedBy(name, Buffer.alloc(0), whole)
  // A ledger that is gone is read from its previous version, which has every key.
  return {
    name: `${kind} ${name}`,
    profiles,
    tokens,
    mayRefuse: mayRefuse || (isNoFile && name !== 'audit.jsonl'),
  }
}

/** What the new content of a file leaves whole. */
function concernedBy(name: string, bytes: Buffer, whole: Files): Omit<Damage, 'name'> {
  const fields = parseFields(bytes.toString())
  const isNewer = typeof fields?.format === 'number' && fields.format > 2
  switch (name) {
    case 'ledger.json':
      return { profiles: changedProfiles(fields, whole), tokens: NONE, mayRefuse: isNewer }
    case 'tokens.json': {
      const found: readonly unknown[] = Array.isArray(fields?.tokens) ? fields.tokens : []
      const old: unknown[] = parseFields(String(whole.get(name)))?.tokens as unknown[]
      const isList = Array.isArray(fields?.tokens)
      // Beside a second record of the same token, which may be an expired one, either may count.
      const isTwice = (one: unknown) =>
        found.filter((other) => isFields(one) && isFields(other) && other.id === one.id).length > 1
      const changed = old.filter(
        (one) => isList && (isTwice(one) || !found.some((other) => isSame(one, other))),
      )
      return {
        profiles: NONE,
        tokens: new Set(changed.flatMap((one) => (isFields(one) ? [String(one.id)] : []))),
        mayRefuse: isNewer,
      }
    }
    case 'login-ports.json':
      return { profiles: NONE, tokens: NONE, mayRefuse: isNewer }
    case 'vault.json':
    case 'vault/data-key.json':
      return { profiles: ALL, tokens: NONE, mayRefuse: true }
    default:
      return {
        profiles: name.startsWith('vault/') ? ownersOf(name, bytes, whole) : NONE,
        tokens: NONE,
        mayRefuse: false,
      }
  }
}

/** The profiles whose record, or a record of whose keys, differs; none if the previous version is used. */
function changedProfiles(fields: Record<string, unknown> | undefined, whole: Files): ReadonlySet<string> {
  const old = parseFields(String(whole.get('ledger.json')))
  if (fields === undefined || !isFields(fields.profiles) || !isFields(fields.keys)) return NONE
  const { profiles, keys } = fields
  return new Set(
    [...ALL].filter((profile) => {
      const record = isFields(old?.profiles) ? old.profiles[profile] : undefined
      if (!isSame(record, profiles[profile])) return true
      const own = Object.entries(isFields(old?.keys) ? old.keys : {}).filter(
        ([, key]) => isFields(key) && key.profile === profile,
      )
      return own.some(([item, key]) => !isSame(key, keys[item]))
    }),
  )
}

/** A damaged record of the vault concerns one profile; which one is sealed. */
function ownersOf(name: string, bytes: Buffer, whole: Files): ReadonlySet<string> {
  const old = parseFields(String(whole.get(name)))
  const ledger = parseFields(String(whole.get('ledger.json')))
  if (isSame(parseFields(bytes.toString()), old)) return NONE
  return new Set(
    [...ALL].filter((profile) => {
      const record = isFields(ledger?.profiles) ? ledger.profiles[profile] : undefined
      return isFields(record) && (record.currentItem === old?.item || record.authItem === old?.item)
    }),
  )
}

/** The original stays: as it is, under another name beside it, or record by record in what could not be understood. */
function requireKept(before: Files, after: Files, say: (what: string) => Error): void {
  for (const [name, bytes] of before) {
    if (/^(?:clean-end|fingerprint\.key|lock-host|lock\/.*|audit.*|.*\.previous|.*\.tmp)$/.test(name))
      continue
    const found = [...after].some(([other, now]) => other.startsWith(name) && now.equals(bytes))
    if (found || keepsRecords(bytes, after.get(name))) continue
    throw say(`${name} is not what it was, and no copy is left: ${bytes.toString().slice(0, 300)}`)
  }
}

/** Every record that is not understood is in the file word for word, and none of the others is gone. */
function keepsRecords(before: Buffer, after: Buffer | undefined): boolean {
  const [old, now] = [before, after ?? Buffer.alloc(0)].map((bytes) => parseFields(bytes.toString()))
  if (old === undefined || now === undefined) return false
  const aside = isFields(now.unknown) ? now.unknown : {}
  return Object.entries(LISTS).every(([list, schema]) => {
    const kept = [...valuesOf(now[list]), ...valuesOf(aside[list])]
    return valuesOf(old[list]).every(
      (record) => schema.safeParse(record).success || kept.some((one) => isSame(one, record)),
    )
  })
}

/** By their text: what is nested too deep cannot be compared otherwise. */
function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

function valuesOf(list: unknown): readonly unknown[] {
  return typeof list === 'object' && list !== null ? Object.values(list) : []
}

/** The entries of an audit log; who the callers were is told in lines of their own. */
function linesOf(bytes: Buffer = Buffer.alloc(0)): readonly string[] {
  return bytes
    .toString()
    .split('\n')
    .filter((line) => line !== '' && !line.includes('"caller"'))
}

function idsOf(whole: Files): readonly string[] {
  const list = parseFields(String(whole.get('tokens.json')))?.tokens
  return valuesOf(list).map((one) => (isFields(one) ? String(one.id) : ''))
}

function requireNoSecret(text: string, secrets: readonly string[], say: (what: string) => Error): void {
  const found = secrets.find((secret) => text.includes(secret))
  if (found !== undefined)
    throw say(
      `a secret was printed: ${text.slice(Math.max(0, text.indexOf(found) - 200), text.indexOf(found))}`,
    )
}
