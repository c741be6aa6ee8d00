/** `prefect-auth vault …`, `unlock` and `lock`: where the secrets are, and what protects them. */
import { closeSync, existsSync, openSync, readFileSync, unlinkSync, writeFileSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { VaultAnswer, VaultMoveAnswer } from '../../wire/status.js'
import type { ImportAnswer } from '../../wire/transfer.js'
import { readSecret } from '../ask.js'
import { usageError } from '../failure.js'
import { readPassphrase } from '../passphrase.js'
import { type CommonOptions, type Session, type Start, withJson } from '../session.js'
import { printable, shellWord } from '../text.js'

interface UnlockOptions extends CommonOptions {
  readonly passphraseStdin?: boolean
}

interface VaultOptions extends CommonOptions {
  readonly passphraseFile?: string
}

interface MoveOptions extends VaultOptions {
  readonly to: string
}

export function addVault(program: Command, start: Start): void {
  addLocks(program, start)
  const vault = program.command('vault').description('where the keys are stored, and what protects them')
  withJson(vault.command('status', { isDefault: true }))
    .description('the vault, what protects it, and why it was chosen')
    .action((options: CommonOptions) => start('vault status', options, showVault))
  withPassphrase(withJson(vault.command('move')))
    .description('move every key into another vault, without a new login')
    .addOption(
      new Option('--to <vault>', 'where to')
        .choices(['keychain', 'file', 'systemd-creds', 'passphrase', 'key-file'])
        .makeOptionMandatory(),
    )
    .action((options: MoveOptions) => start('vault move', options, (session) => moveVault(session, options)))
  addTransfer(vault, start)
  withPassphrase(withJson(vault.command('rekey')))
    .description('make a new data key, and a new passphrase if there is one')
    .action((options: VaultOptions) =>
      start('vault rekey', options, (session) => rekeyVault(session, options)),
    )
}

function addTransfer(vault: Command, start: Start): void {
  withPassphrase(withJson(vault.command('export <file>')))
    .description('write every key to a new file, encrypted with a passphrase, for another machine')
    .action((file: string, options: VaultOptions) =>
      start('vault export', options, (session) => exportVault(session, file, options)),
    )
  withPassphrase(withJson(vault.command('import <file>')))
    .description('log in with what an export holds, where there is no key that works')
    .action((file: string, options: VaultOptions) =>
      start('vault import', options, (session) => importVault(session, file, options)),
    )
}

async function exportVault(session: Session, file: string, options: VaultOptions): Promise<void> {
  // Found out before the passphrase is asked for.
  if (existsSync(file)) throw usageError(`${printable(file)} exists; an export never replaces a file`)
  const command = `prefect-auth vault export ${shellWord(file)} --passphrase-file FILE`
  const passphrase = await readPassphrase(session, { file: options.passphraseFile, isNew: true, command })
  const { document, profiles } = await session.client.exportVault(passphrase)
  try {
    writeNew(file, `${JSON.stringify(document, undefined, 2)}\n`)
  } catch {
    throw usageError(`cannot write ${printable(file)}; the keys are where they were`)
  }
  const whose = profiles.map(printable).join(', ') || 'nobody'
  session.answer({ file, profiles }, () => `${printable(file)} holds the keys of: ${whose}`)
  session.say(
    'On the other machine: prefect-auth vault import FILE. Then delete the file: the keys in it work until they expire.',
  )
}

/** Nothing is left of a file that could not be written to its end: it would be in the way of the next export. */
function writeNew(file: string, text: string): void {
  const handle = openSync(file, 'wx', 0o600)
  try {
    writeFileSync(handle, text, { flush: true })
  } catch (error) {
    unlinkSync(file)
    throw error
  } finally {
    closeSync(handle)
  }
}

async function importVault(session: Session, file: string, options: VaultOptions): Promise<number> {
  const document = readExport(file)
  const command = `prefect-auth vault import ${shellWord(file)} --passphrase-file FILE`
  const passphrase = await readPassphrase(session, { file: options.passphraseFile, isNew: false, command })
  const answer = await session.client.importVault({ passphrase, document })
  session.answer(answer, () => describeImport(answer))
  return answer.profiles.some(({ outcome }) => outcome === 'failed') ? 1 : 0
}

function describeImport({ profiles }: ImportAnswer): string {
  if (profiles.length === 0) return 'There is no key in this export.'
  return profiles
    .map(({ profile, outcome, reason }) => `${printable(profile)}: ${outcome} (${printable(reason)})`)
    .join('\n')
}

function readExport(file: string): unknown {
  try {
    const document: unknown = JSON.parse(readFileSync(file, 'utf8'))
    if (typeof document === 'object' && document !== null && 'format' in document) return document
  } catch {}
  throw usageError(`${printable(file)} cannot be read, or is not an export of prefect-auth`)
}

function withPassphrase(command: Command): Command {
  return command.option('--passphrase-file <file>', 'its first line is the passphrase')
}

function addLocks(program: Command, start: Start): void {
  withJson(program.command('unlock'))
    .description('unlock the vault with its passphrase')
    .option('--passphrase-stdin', 'read the passphrase from stdin')
    .action((options: UnlockOptions) =>
      start('unlock', options, async (session) => {
        const fromStdin = options.passphraseStdin === true
        const hint = 'prefect-auth unlock --passphrase-stdin < FILE'
        const answer = await session.client.unlock(
          await readSecret(session, { what: 'passphrase', fromStdin, hint }),
        )
        session.answer(answer, () => describeVault(answer))
      }),
    )
  withJson(program.command('lock'))
    .description('lock the vault until the next unlock')
    .action((options: CommonOptions) =>
      start('lock', options, async (session) => {
        const answer = await session.client.lock()
        session.answer(answer, () => describeVault(answer))
      }),
    )
}

async function showVault(session: Session): Promise<void> {
  const { vault } = await session.client.status()
  session.answer({ vault }, () => `${describeVault({ vault })}\nWhy: ${printable(vault.because)}`)
  sayProtection(session, { vault })
}

async function moveVault(session: Session, { to, passphraseFile }: MoveOptions): Promise<void> {
  const command = `prefect-auth vault move --to ${to} --passphrase-file FILE`
  const passphrase =
    to === 'passphrase'
      ? await readPassphrase(session, { file: passphraseFile, isNew: true, command })
      : undefined
  const answer = await session.client.moveVault({ to, ...(passphrase === undefined ? {} : { passphrase }) })
  tellMoved(session, answer)
}

async function rekeyVault(session: Session, { passphraseFile }: VaultOptions): Promise<void> {
  const { vault } = await session.client.status()
  const command = 'prefect-auth vault rekey --passphrase-file FILE'
  const hasPassphrase = vault.at_rest === 'passphrase'
  const passphrase = hasPassphrase
    ? await readPassphrase(session, { file: passphraseFile, isNew: true, command })
    : undefined
  const answer = await session.client.rekeyVault(passphrase === undefined ? {} : { passphrase })
  tellMoved(session, answer)
}

function tellMoved(session: Session, answer: VaultMoveAnswer): void {
  session.answer(answer, () => `${answer.items} secrets moved. ${describeVault(answer)}`)
  sayProtection(session, answer)
  if (answer.vault.at_rest === 'passphrase') {
    session.say('After each restart it needs the passphrase: prefect-auth unlock, or vault.passphrase_file')
  }
}

function sayProtection(session: Session, { vault }: VaultAnswer): void {
  if (vault.at_rest !== 'not protected') return
  session.say(
    'The file is encrypted, but its key is stored beside it; run: prefect-auth vault move --to passphrase',
  )
}

function describeVault({ vault }: VaultAnswer): string {
  const problem = vault.problem === undefined ? '' : `: ${printable(vault.problem.message)}`
  return `The vault (${vault.backend}, at rest: ${vault.at_rest}) is ${vault.state.replace('_', ' ')}${problem}`
}
