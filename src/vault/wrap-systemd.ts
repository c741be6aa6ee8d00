/** Wraps the data key without a passphrase: by `systemd-creds --user` (systemd 256 or later), or in a plain file. */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { type ProgramResult, runProgram } from '../os/run-program.js'
import { type Clock, SECOND_MS } from '../std/clock.js'
import { DATA_KEY_BYTES, dataKeyDamaged, type KeyWrap } from './data-key.js'

interface SystemdWrapDependencies {
  readonly clock: Clock
  /** Absolute path; default `/usr/bin/systemd-creds`. */
  readonly program?: string
  /** Long, because a TPM may be slow. */
  readonly deadlineMs?: number
}

const sealedKey = z.strictObject({ credential: z.string().min(1).max(64_000) })

/** Bound to the machine's TPM or host key, and to our user id. */
export function createSystemdWrap(dependencies: SystemdWrapDependencies): KeyWrap {
  const { clock, program = '/usr/bin/systemd-creds', deadlineMs = 10 * SECOND_MS } = dependencies

  async function run(verb: 'encrypt' | 'decrypt', store: string, input: string): Promise<string> {
    const args = [verb, '--user', `--name=prefect-auth-${store}`, '--newline=no', '-', '-']
    const call = { file: program, args, env: { LC_ALL: 'C' }, input, deadlineMs }
    const result = await runProgram(call, clock)
    if (result.kind === 'exited' && result.code === 0 && result.stdout !== '') return result.stdout
    throw new BrokerError(
      'vault_unavailable',
      `cannot ${verb} the data key with ${program}: ${reasonOf(result)}`,
      {
        hint: `check: ${program} --version; systemctl status systemd-creds.socket`,
      },
    )
  }

  return {
    kind: 'systemd-creds',
    atRest: 'systemd credential',
    async seal(key, store) {
      return { credential: await run('encrypt', store, Buffer.from(key).toString('base64')) }
    },
    async open(sealed, store) {
      const parsed = sealedKey.safeParse(sealed)
      if (!parsed.success) throw dataKeyDamaged()
      return Buffer.from(await run('decrypt', store, parsed.data.credential), 'base64')
    },
  }
}

/** Why this machine's systemd-creds cannot be used; `undefined` if it sealed and opened a random key. */
export async function probeSystemdWrap(wrap: KeyWrap): Promise<string | undefined> {
  const key = randomBytes(DATA_KEY_BYTES)
  try {
    const opened = await wrap.open(await wrap.seal(key, 'probe'), 'probe')
    return key.equals(opened) ? undefined : 'it returned a different key than it sealed'
  } catch (error) {
    return complaintOf(error)
  }
}

/** The usual case in short: systemd before 256 does not know `--user`. */
function complaintOf(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown error'
  return error.message.includes("unrecognized option '--user'")
    ? 'this systemd is older than 256'
    : error.message
}

function reasonOf(result: ProgramResult): string {
  switch (result.kind) {
    case 'exited':
      return lastLine(result.stderr) ?? `exit code ${result.code}`
    case 'crashed':
      return `killed by ${result.signal}`
    case 'not_started':
      return result.reason
    case 'timed_out':
      return 'no answer in time'
  }
}

function lastLine(text: string): string | undefined {
  return text.trim().split('\n').at(-1)?.slice(0, 200) || undefined
}

const plainKey = z.strictObject({ key: z.base64().length(44) })

/** Makes copies of single record files useless. No protection against a thief with the disk. */
export function createKeyFileWrap(): KeyWrap {
  return {
    kind: 'key-file',
    atRest: 'not protected',
    async seal(key) {
      return { key: Buffer.from(key).toString('base64') }
    },
    async open(sealed) {
      const parsed = plainKey.safeParse(sealed)
      if (!parsed.success) throw dataKeyDamaged()
      return Buffer.from(parsed.data.key, 'base64')
    },
  }
}
