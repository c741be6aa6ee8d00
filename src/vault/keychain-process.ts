/** The OS keychain through child processes, one per request: keytar can hang and crash, a child can be killed. */
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { type ProgramResult, runProgram } from '../os/run-program.js'
import type { Clock } from '../std/clock.js'
import type { AskKeychain, KeychainReply } from './keychain.js'

const reply: z.ZodType<KeychainReply> = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('value'), value: z.string() }),
  z.strictObject({ kind: z.literal('nothing') }),
  z.strictObject({ kind: z.literal('done') }),
  z.strictObject({ kind: z.literal('no_module'), message: z.string() }),
  z.strictObject({ kind: z.literal('failed'), message: z.string() }),
])

export interface KeychainProcessDependencies {
  /** `process.execPath` */
  readonly execPath: string
  /** The bundled `keychain-child.js`, absolute. */
  readonly childPath: string
  /** The child's whole environment: the session bus, the home directory, little else. */
  readonly env: Readonly<Record<string, string>>
  readonly deadlineMs: number
  readonly clock: Clock
}

export function createKeychainProcess(dependencies: KeychainProcessDependencies): AskKeychain {
  const { execPath, childPath, env, deadlineMs, clock } = dependencies
  return async (request) => {
    // The secret goes through stdin, never through arguments or environment.
    const input = `${JSON.stringify(request)}\n`
    const call = { file: execPath, args: [childPath], env, input, isStdinHeld: true, deadlineMs }
    return readReply(
      await runProgram(call, clock),
      `cannot ${request.verb} '${request.account}' in the keychain`,
      deadlineMs,
    )
  }
}

function readReply(result: ProgramResult, failure: string, deadlineMs: number): KeychainReply {
  const hint = 'prefect-auth doctor'
  switch (result.kind) {
    case 'exited': {
      const parsed = reply.safeParse(parseJson(result.stdout))
      if (parsed.success) return parsed.data
      // Of its output only Node's own error code is repeated: the rest may quote the request.
      const said = /\bERR_[A-Z_]+\b/.exec(result.stderr)?.[0]
      throw new BrokerError(
        'vault_unavailable',
        `${failure}: its process ended with exit code ${result.code}${said ? ` (${said})` : ''}`,
        { hint },
      )
    }
    case 'crashed':
      throw new BrokerError('vault_unavailable', `${failure}: its process was killed by ${result.signal}`, {
        hint,
      })
    case 'not_started':
      throw new BrokerError('vault_unavailable', `${failure}: ${result.reason}`, { hint })
    case 'timed_out':
      throw new BrokerError('vault_timeout', `${failure}: no answer within ${deadlineMs} ms`, {
        hint,
      })
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}
