/** `prefect-auth logout` and `adopt`: forgets a key, and moves one from profiles.toml into the vault. */
import type { Command } from 'commander'
import type { LogoutAnswer } from '../../wire/login.js'
import { type CommonOptions, common, profileName, type Start } from '../session.js'
import { printable } from '../text.js'

interface LogoutOptions extends CommonOptions {
  readonly revoke?: boolean
}

export function addLogout(program: Command, start: Start): void {
  common(program.command('logout'))
    .description("forget the profile's key on this machine")
    .option('--revoke', 'also delete the keys at Prefect, if possible')
    .action((options: LogoutOptions) =>
      start('logout', options, async (session) => {
        const answer = await session.client.logout(await profileName(session), options.revoke === true)
        session.answer(answer, () => describeLogout(answer, options.revoke === true))
        return answer.not_revoked.length > 0 && options.revoke === true ? 1 : 0
      }),
    )
}

export function addAdopt(program: Command, start: Start): void {
  common(program.command('adopt'))
    .description('move the plain-text key in profiles.toml into the vault')
    .action((options: CommonOptions) =>
      start('adopt', options, async (session) => {
        const answer = await session.client.adopt(await profileName(session))
        session.answer(answer, () => printable(answer.message))
      }),
    )
}

function describeLogout(
  { profile, forgotten, revoked, not_revoked, share }: LogoutAnswer,
  isRevoking: boolean,
): string {
  const lines = [`Logged out of profile ${printable(profile)}`]
  if (forgotten.length > 0) lines.push(`  forgotten here: ${printable(forgotten.join(', '))}`)
  if (forgotten.length === 0) lines[0] = `Profile ${printable(profile)} had no key`
  if (revoked.length > 0) lines.push(`  deleted at Prefect: ${printable(revoked.join(', '))}`)
  if (share !== undefined)
    lines.push(`  at Prefect the key of share ${printable(share)} works on: other machines use it`)
  for (const { fingerprint, reason } of isRevoking ? not_revoked : []) {
    lines.push(`  not deleted at Prefect: ${printable(fingerprint)}: ${printable(reason)}`)
  }
  return lines.join('\n')
}
