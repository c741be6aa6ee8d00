/** `prefect-auth unlock` and `lock`: open the file vault with its passphrase, and close it. */
import type { Command } from 'commander'
import type { VaultAnswer } from '../../wire/status.js'
import { readSecret } from '../ask.js'
import { type CommonOptions, type Start, withJson } from '../session.js'
import { printable } from '../text.js'

interface UnlockOptions extends CommonOptions {
  readonly passphraseStdin?: boolean
}

export function addVault(program: Command, start: Start): void {
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

function describeVault({ vault }: VaultAnswer): string {
  const problem = vault.problem === undefined ? '' : `: ${printable(vault.problem.message)}`
  return `The vault (${vault.backend}, at rest: ${vault.at_rest}) is ${vault.state.replace('_', ' ')}${problem}`
}
