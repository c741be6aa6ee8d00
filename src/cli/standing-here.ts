/** What stands around this command and concerns a Prefect that is started here, for `status` and `doctor`. */

import { isSameFile } from '../os/same-file.js'
import type { ProfileStatus, Status } from '../wire/status.js'
import { settingsOfEnv } from './fast/around.js'
import { lookAround } from './fast/host.js'
import { describeSettings, isFromProxy, pairIn } from './fast/standing.js'
import type { Session, Terminal } from './session.js'
import { printable } from './text.js'

export interface Standing {
  readonly text: string
  readonly hint?: string
}

/** That the caller has chosen another profile file than the daemon's; `undefined` if not. */
export async function findOtherFile(
  terminal: Pick<Terminal, 'env' | 'home' | 'folder'>,
  status: Status,
): Promise<Standing | undefined> {
  const { path, chosenBy } = lookAround(terminal).file
  const ours = status.profiles_file.path
  if (chosenBy === undefined || (await isSameFile(path, ours))) return undefined
  const text = `${chosenBy} chooses the profile file ${path}, but the daemon reads ${ours}; exec and env refuse that`
  const hint = /^[A-Z_]+$/.test(chosenBy) ? `unset ${chosenBy}` : `check ${chosenBy}`
  return { text, hint: `${hint}      (or restart the daemon with PREFECT_PROFILES_PATH=${path})` }
}

/** Files of the directory that name an API, and settings that clients obey beside their key: one finding each. */
export function findStanding(
  terminal: Pick<Terminal, 'env' | 'home' | 'folder'>,
  profile: ProfileStatus | undefined,
): readonly Standing[] {
  const { files } = lookAround(terminal)
  const emptied = ['PREFECT_API_URL', ...(profile?.kind === 'cloud' ? ['PREFECT_API_KEY'] : [])]
  const isOurs = (name: string, value: string) =>
    value === '' ? !emptied.includes(name) : isFromProxy(value) || value === profile?.api_url
  const naming = files.flatMap((file) => {
    const names = pairIn(file, isOurs)
    const text = `${file.place} in this directory sets ${names.join(', ')}, which a plain prefect obeys here`
    return names.length === 0
      ? []
      : [{ text, hint: 'prefect-auth exec -- CMD      (there the profile wins)' }]
  })
  return [
    ...naming,
    ...describeSettings([settingsOfEnv(terminal.env), ...files], false).map((text) => ({ text })),
  ]
}

/** What is wrong with the file that the login was just written to. The login is done, whatever comes of this. */
export async function warnOfFile({ client, say }: Session): Promise<void> {
  const status = await client.status().catch(() => undefined)
  for (const warning of status?.profiles_file.warnings ?? []) say(`note: ${printable(warning)}`)
}
