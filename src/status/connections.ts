/** Doctor's look at how each profile's server is reached: certificates that nobody looks at, and files of them. */

import { stat } from 'node:fs/promises'
import { isAbsolute } from 'node:path'
import { shownName } from '../profiles/bundled.js'
import type { Credentials, ProfileState } from '../serve/credentials.js'
import { quoteWord } from '../std/text.js'
import type { Examination } from './doctor.js'
import type { Finding } from './listeners.js'

export function planConnectionExamination({
  credentials,
}: {
  readonly credentials: Pick<Credentials, 'states'>
}): Examination {
  return { name: 'certificates', examine: () => judgeCertificates(credentials.states()) }
}

/** The worst finding about any profile. */
export async function judgeCertificates(
  profiles: readonly Pick<ProfileState, 'resolved'>[],
): Promise<Finding> {
  const used = profiles.filter(({ resolved }) => resolved.kind !== 'none')
  for (const { resolved } of used) {
    const { caFile } = resolved.connection?.tls ?? {}
    if (caFile !== undefined && !(await isFile(caFile))) return unreadable(resolved.name, caFile)
  }
  const unverified = used.filter(({ resolved }) => resolved.connection?.tls?.isUnverified === true)
  const [first] = unverified
  if (first === undefined) return { verdict: 'ok', finding: 'verified for every profile' }
  const names = unverified.map(({ resolved }) => shownName(resolved.name)).join(', ')
  return {
    verdict: 'warning',
    finding: `not verified for profile ${names}: anyone on the network path can read and change what is sent, the key included`,
    remedy: unset(first.resolved.name, 'PREFECT_API_TLS_INSECURE_SKIP_VERIFY'),
  }
}

async function isFile(path: string): Promise<boolean> {
  if (!isAbsolute(path)) return false
  return stat(path).then(
    (found) => found.isFile(),
    () => false,
  )
}

function unreadable(profile: string, caFile: string): Finding {
  return {
    verdict: 'problem',
    finding: `PREFECT_API_SSL_CERT_FILE of profile ${shownName(profile)} is not the absolute path of a file: ${caFile}`,
    remedy: unset(profile, 'PREFECT_API_SSL_CERT_FILE'),
  }
}

/** `prefect config unset` changes the active profile, and takes no other. */
function unset(profile: string, setting: string): string {
  return `prefect --profile ${quoteWord(profile)} config unset --yes ${setting}`
}
