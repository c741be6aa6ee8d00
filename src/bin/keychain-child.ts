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
    keytar = loadKeytar()
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

/** keytar's module for this system: beside this program, or in a checkout where npm put it. Throws if it cannot be loaded. */
function loadKeytar(): Keytar {
  const load = createRequire(import.meta.url)
  const shipped = join(dirname(fileURLToPath(import.meta.url)), 'keytar')
  const folder = existsSync(shipped)
    ? shipped
    : join(dirname(load.resolve('keytar/package.json')), 'prebuilds')
  const { platform, arch } = process
  // Alpine has another C library, and some ARM systems another name.
  const systems = [`${platform}-${arch}`, `${platform}musl-${arch}`, `${platform}-${arch}v7l`]
  let failure: unknown
  for (const file of systems.map((system) => join(folder, system, 'keytar.node')).filter(existsSync)) {
    try {
      return load(file)
    } catch (error) {
      failure ??= error
    }
  }
  throw failure ?? new Error(`Cannot find module 'keytar' for ${platform}-${arch}`)
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown'
}
