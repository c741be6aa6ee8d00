/** Wraps the data key by `systemd-creds --user`: the machine's TPM or host key, and our user id. systemd 256 or later. */
import { randomBytes } from 'node:crypto'
import { z } from 'zod'
import { BrokerError } from '../base/errors.js'
import { type ProgramResult, runProgram } from '../os/run-program.js'
import type { Clock } from '../std/clock.js'
import { DATA_KEY_BYTES, type KeyWrap } from './data-key.js'

interface SystemdWrapDependencies {
  readonly clock: Clock
  /** Absolute path; `/usr/bin/systemd-creds` unless told otherwise. */
  readonly program?: string
  /** A TPM may take its time. */
  readonly deadlineMs?: number
}

const sealedKey = z.strictObject({ credential: z.string().min(1).max(64_000) })

export function createSystemdWrap(dependencies: SystemdWrapDependencies): KeyWrap {
  const { clock, program = '/usr/bin/systemd-creds', deadlineMs = 10_000 } = dependencies

  async function run(verb: 'encrypt' | 'decrypt', store: string, input: string): Promise<string> {
    const args = [verb, '--user', `--name=prefect-auth-${store}`, '--newline=no', '-', '-']
    const call = { file: program, args, env: { LC_ALL: 'C' }, input, deadlineMs }
    const result = await runProgram(call, clock)
    if (result.kind === 'exited' && result.code === 0 && result.stdout !== '') return result.stdout
    throw new BrokerError(
      'vault_unavailable',
      `asking ${program} to ${verb} the data key: ${reasonOf(result)}`,
      {
        hint: `${program} --version; systemctl status systemd-creds.socket`,
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
      if (!parsed.success)
        throw new BrokerError('vault_corrupt', 'opening the vault: its data key is damaged')
      return Buffer.from(await run('decrypt', store, parsed.data.credential), 'base64')
    },
  }
}

/** Why this machine's systemd-creds cannot be used, `undefined` where a random key went in and came out again. */
export async function probeSystemdWrap(wrap: KeyWrap): Promise<string | undefined> {
  const key = randomBytes(DATA_KEY_BYTES)
  try {
    const opened = await wrap.open(await wrap.seal(key, 'probe'), 'probe')
    return key.equals(opened) ? undefined : 'it gave back another key than it was given'
  } catch (error) {
    return complaintOf(error)
  }
}

/** systemd before 256 does not know `--user`: the usual case deserves a short sentence. */
function complaintOf(error: unknown): string {
  if (!(error instanceof Error)) return 'it failed'
  return error.message.includes("unrecognized option '--user'")
    ? 'this systemd is older than 256'
    : error.message
}

function reasonOf(result: ProgramResult): string {
  switch (result.kind) {
    case 'exited':
      return lastLine(result.stderr) ?? `it exited with ${result.code}`
    case 'crashed':
      return `it died of ${result.signal}`
    case 'not_started':
      return result.reason
    case 'timed_out':
      return 'it did not answer in time'
  }
}

function lastLine(text: string): string | undefined {
  return text.trim().split('\n').at(-1)?.slice(0, 200) || undefined
}

const plainKey = z.strictObject({ key: z.base64().length(44) })

/** Keeps copies of single files from being useful; against a thief with the disk it does nothing. */
export function createKeyFileWrap(): KeyWrap {
  return {
    kind: 'key-file',
    atRest: 'not protected',
    async seal(key) {
      return { key: Buffer.from(key).toString('base64') }
    },
    async open(sealed) {
      const parsed = plainKey.safeParse(sealed)
      if (!parsed.success)
        throw new BrokerError('vault_corrupt', 'opening the vault: its data key is damaged')
      return Buffer.from(parsed.data.key, 'base64')
    },
  }
}
