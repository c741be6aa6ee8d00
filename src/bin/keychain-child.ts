/**
 * The only process that runs keytar: a child for one request.
 *
 * Reads a line of JSON, asks the keychain, writes a line of JSON. Dies with its parent, and after a while in any case.
 */
import { createInterface } from 'node:readline'
import type { KeychainReply, KeychainRequest } from '../vault/keychain.js'

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
  let keytar: typeof import('keytar')
  try {
    const module = await import('keytar')
    keytar = module.default ?? module
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

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : 'unknown'
}
