/** Whether a caller's Prefect reads the profile file that this daemon watches. */

import type { IncomingHttpHeaders } from 'node:http'
import { BrokerError } from '../base/errors.js'
import { isSameFile } from '../os/same-file.js'
import type { ResolvedProfile } from '../profiles/profile.js'
import { shellWord } from '../std/text.js'
import { CALLERS_FILE_HEADER, parseCallersFile } from '../wire/callers-file.js'

/**
 * True for callers that do not say. Throws `profiles_file_mismatch` if the caller has chosen another file, whose profiles must not
 * be replaced by those of the daemon's in silence.
 */
export async function readsOurFile(
  { headers }: { readonly headers: IncomingHttpHeaders },
  ours: string,
): Promise<boolean> {
  const header = headers[CALLERS_FILE_HEADER]
  const theirs = typeof header === 'string' ? parseCallersFile(header) : undefined
  if (theirs === undefined || (await isSameFile(theirs.path, ours))) return true
  if (theirs.chosenBy === undefined) return false
  throw new BrokerError(
    'profiles_file_mismatch',
    `${theirs.chosenBy} chooses the profile file ${theirs.path}, but the daemon reads ${ours}`,
    { hint: remedyFor(theirs.chosenBy, theirs.path) },
  )
}

/** Whether the caller's Prefect knows the profile, so that `PREFECT_PROFILE` can name it. */
export function isNameable({ source }: Pick<ResolvedProfile, 'source'>, isOurFile: boolean): boolean {
  return isOurFile || source === 'bundled'
}

function remedyFor(chosenBy: string, path: string): string {
  const restart = `or restart the daemon with PREFECT_PROFILES_PATH=${shellWord(path)}`
  if (/^[A-Z_]+$/.test(chosenBy)) return `unset ${chosenBy}      (${restart})`
  return `check ${chosenBy}: remove it there, ${restart}`
}
