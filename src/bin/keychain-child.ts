/**
 * The only process that runs keytar: a child for one request.
 *
 * Reads a line of JSON, asks the keychain, writes a line of JSON. Dies with its parent, and after a while in any case.
 */
import { existsSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { KeychainReply, KeychainRequest } from '../vault/keychain.js'

type Keytar = Pick<typeof import('keytar'), 'getPassword' | 'setPassword' | 'deletePassword'>

/** Far above every deadline of the parent. */
const LIFE_MS = 30_000

// A thread that waits for an unlock prompt makes exit() hang: only SIGKILL ends such a process.
const die = () => process.kill(process.pid, 'SIGKILL')

setTimeout(die, LIFE_MS).unref()
const lines = createInterface({ input: process.stdin })
lines.once('line', (line) => {
  answer(JSON.parse(line)).then(
    (reply) => process.stdout.write(JSON.stringify(reply), () => process.exit(0)),
    die,
  )
})
lines.once('close', die)

async function answer(request: KeychainRequest): Promise<KeychainReply> {
  let keytar: Keytar
  try {
    keytar = loadShipped() ?? (await loadInstalled())
  } catch (error) {
    return { kind: 'no_module', message: messageOf(error) }
  }
  const { service, account } = request
  try {
    switch (request.verb) {
      case 'get': {
        const value = await keytar.getPassword(service, account)
        return value === null ? { kind: 'nothing' } : { kind: 'value', value }
      }
      case 'set':
        await keytar.setPassword(service, account, request.value)
        return { kind: 'done' }
      case 'delete':
        return (await keytar.deletePassword(service, account)) ? { kind: 'done' } : { kind: 'nothing' }
    }
  } catch (error) {
    return { kind: 'failed', message: messageOf(error) }
  }
}

/** The module for this system in our own package; `undefined` if there is none. Throws if it cannot be loaded. */
function loadShipped(): Keytar | undefined {
  const { platform, arch } = process
  // Alpine has another C library, and some ARM systems another name.
  const systems = [`${platform}-${arch}`, `${platform}musl-${arch}`, `${platform}-${arch}v7l`]
  const folder = join(dirname(fileURLToPath(import.meta.url)), 'keytar')
  const files = systems
    .map((system) => join(folder, system, 'keytar.node'))
    .filter((file) => existsSync(file))
  const load = createRequire(import.meta.url)
  let failure: unknown
  for (const file of files) {
    try {
      return load(file)
    } catch (error) {
      failure ??= error
    }
  }
  if (failure !== undefined) throw failure
  return undefined
}

/** In a checkout, where the package is installed for development. */
async function loadInstalled(): Promise<Keytar> {
  const module = await import('keytar')
  return module.default ?? module
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown'
}
