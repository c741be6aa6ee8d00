/** `prefect-auth keys rotate-service-account`: a new key for a service account, kept for the profile that uses it. */
import { type Command, InvalidArgumentError } from 'commander'
import { parseDuration } from '../../std/time.js'
import type { RotateBotAnswer } from '../../wire/keys.js'
import { profileName } from '../context.js'
import { printable } from '../printable.js'
import { type CommonOptions, common, type Start } from '../start.js'
import { formatDate, formatTime } from '../when.js'

interface RotateOptions extends CommonOptions {
  readonly owner?: string
  /** Milliseconds. */
  readonly oldKeyLives?: number
  readonly expiresIn?: number
}

export function addRotateServiceAccount(keys: Command, start: Start): void {
  common(keys.command('rotate-service-account <name>'))
    .description("make a new key for a service account with an owner's key; --profile names who uses it")
    .option('--owner <profile>', "the profile whose owner's key asks Prefect (default: the active one)")
    .option('--old-key-lives <duration>', 'how long the old key goes on working (default: 1d)', parseSpan)
    .option('--expires-in <duration>', 'life of the new key (default: as long as the one before)', parseSpan)
    .action((name: string, options: RotateOptions) =>
      start('keys rotate-service-account', options, async (session) => {
        const profile = await profileName(session)
        const { owner, oldKeyLives, expiresIn } = options
        const answer = await session.client.rotateServiceAccount({
          profile,
          name,
          ...(owner === undefined ? {} : { owner_profile: owner }),
          ...(oldKeyLives === undefined ? {} : { old_key_lives_s: Math.round(oldKeyLives / 1000) }),
          ...(expiresIn === undefined ? {} : { expires_in_s: Math.round(expiresIn / 1000) }),
        })
        session.answer(answer, () => describe(answer))
      }),
    )
}

function describe({ profile, service_account, key, old_key_expires_at }: RotateBotAnswer): string {
  const end = key.expires_at === undefined ? 'without end' : `until ${formatDate(key.expires_at)}`
  return [
    `Rotated: profile ${printable(profile)} has a new key of ${printable(service_account)} (${printable(key.fingerprint)}), ${end}`,
    `The old key works until ${formatTime(old_key_expires_at)} UTC`,
  ].join('\n')
}

/** For commander: its error names the option. */
function parseSpan(text: string): number {
  const ms = parseDuration(text)
  if (ms === undefined || ms < 0) throw new InvalidArgumentError('It is like 30m, 8h or 90d.')
  return ms
}
