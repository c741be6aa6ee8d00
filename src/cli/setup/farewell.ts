/** The keys that an uninstallation ends: forgotten through the log-out of each profile, and deleted at Prefect if asked to. */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { failWith } from '../../client/failure.js'
import { resolvePaths } from '../../config/paths.js'
import type { Session } from '../session.js'
import { printable } from '../text.js'
import { ifRunning } from './running-daemon.js'

/** Whose keys or passwords the vault has. */
export interface Holder {
  readonly profile: string
  /** It is a share, which has made keys that no profile uses yet: they cannot be deleted at Prefect. */
  readonly isShare: boolean
}

/** Fails with `daemon_not_running` if there may be some and nobody can be asked. */
export async function holdersInVault(session: Session): Promise<readonly Holder[]> {
  const { client, terminal } = session
  const list = await ifRunning(client.profiles())
  if (list !== undefined) {
    const { vault } = await client.status()
    if (vault.state !== 'ready') failWith(notOpen(vault.problem))
    if (vault.backend === 'keychain') session.say(LEFT_IN_KEYCHAIN)
    const inVault = list.profiles.filter((one) => one.key === 'vault' || one.auth_string === 'vault')
    // Of a profile that is no longer in the file, or that is logged out, there may be old ones.
    const { keys } = await client.keys()
    const held = keys.flatMap(({ profile, state }) => (state === 'at_prefect' ? [] : [profile]))
    const shared = new Set(keys.flatMap(({ profile, share }) => (share === undefined ? [] : [profile])))
    const isListed = (name: string) => list.profiles.some((one) => one.name === name)
    const names = [...new Set([...inVault.map(({ name }) => name), ...held])]
    return names.map((profile) => ({ profile, isShare: shared.has(profile) && !isListed(profile) }))
  }
  if (!existsSync(join(resolvePaths(terminal).stateDir, 'ledger.json'))) return []
  return failWith({
    code: 'daemon_not_running',
    kind: 'not_running',
    detail: 'the daemon is not running, and nobody else can remove the keys from the vault',
    hint: 'prefect-authd      (in another terminal, then this command again)',
  })
}

/** The daemon has no way yet to remove it; without the state it is of no use. */
const LEFT_IN_KEYCHAIN =
  "note: the entry 'tokens:secret' of prefect-auth stays in the keychain; it is no key, and of no use without the state"

function notOpen(problem: { readonly message: string; readonly hint: string } | undefined) {
  return {
    code: 'vault_locked',
    kind: 'unavailable',
    detail: `the keys cannot be removed from the vault: ${problem?.message ?? 'it is not open'}`,
    hint: problem?.hint ?? 'prefect-auth unlock',
  } as const
}

/** Resolves with what was done. Fails with `keys_not_revoked`: those are still here, out of use, and nothing else was removed. */
export async function forgetKeys(
  { client }: Session,
  holders: readonly Holder[],
  isRevoking: boolean,
): Promise<string> {
  const done: string[] = []
  const left: string[] = []
  const alive: string[] = []
  for (const { profile, isShare } of holders) {
    const isEnding = isRevoking && !isShare
    const { forgotten, revoked, not_revoked, share } = await client.logout(
      profile,
      isEnding,
      isEnding || undefined,
    )
    const isLeft = isShare || share !== undefined
    if (isLeft) left.push(...forgotten.filter((one) => !revoked.includes(one)))
    done.push(...(isRevoking || isLeft ? revoked : forgotten))
    if (isEnding) {
      alive.push(
        ...not_revoked.map(({ fingerprint, reason }) => `${fingerprint} of profile ${profile}: ${reason}`),
      )
    }
  }
  if (alive.length === 0) {
    const where = isRevoking ? 'deleted at Prefect and here' : 'removed from the vault'
    const said = [
      ...(done.length === 0 ? [] : [`${where}: ${printable(done.join(', '))}`]),
      ...(left.length === 0
        ? []
        : [`forgotten here, and shared by other machines: ${printable(left.join(', '))}`]),
    ]
    return said.length === 0 ? 'the vault has no keys any more' : said.join('\n')
  }
  return failWith({
    code: 'keys_not_revoked',
    kind: 'unavailable',
    detail: [
      'Prefect has not deleted these keys; they are kept here, and nothing else is removed:',
      ...alive,
    ].join('\n'),
    hint: 'prefect-auth uninstall --purge --revoke      (again later; or without --revoke)',
  })
}
