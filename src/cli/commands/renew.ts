/** `prefect-auth renew`: another key in the place of the current one, when it is time or on the spot. */
import type { Command } from 'commander'
import type { RenewAnswer } from '../../wire/keys.js'
import { profileName } from '../context.js'
import { printable } from '../printable.js'
import { type CommonOptions, common, type Start } from '../start.js'
import { formatDate } from '../when.js'

interface RenewOptions extends CommonOptions {
  readonly now?: boolean
}

export function addRenew(program: Command, start: Start): void {
  common(program.command('renew'))
    .description('renew the key where it is time; the daemon does it by itself')
    .option('--now', 'renew on the spot, whether it is time or not')
    .action((options: RenewOptions) =>
      start('renew', options, async (session) => {
        const profile = await profileName(session)
        const answer = await session.client.renew(profile, { if_due: options.now !== true })
        session.answer(answer, () => describeRenewal(answer))
      }),
    )
}

function describeRenewal({ profile, outcome, key }: RenewAnswer): string {
  const { fingerprint, expires_at, renews_at } = key
  const end = expires_at === undefined ? 'it does not expire' : `it expires ${formatDate(expires_at)}`
  const next = renews_at === undefined ? '' : `, and is renewed on ${formatDate(renews_at)}`
  const what = outcome === 'renewed' ? 'Renewed' : 'Not yet'
  return `${what}: profile ${printable(profile)}, key ${printable(fingerprint)}; ${end}${next}`
}
