/** Whether the Prefect of a profile answers, Cloud or a self-hosted server, for commands that show or choose the profile. */

import { failureOf } from '../client/failure.js'
import { SECOND_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Session } from './session.js'
import type { Standing } from './standing-here.js'
import { printable } from './text.js'

/** Somebody waits for the result of another command. */
const PATIENCE_MS = 4 * SECOND_MS

/** Asks now, through the daemon; `undefined` if all is well. An older daemon, which cannot ask, finds nothing. */
export async function findPrefectTrouble(
  { client }: Pick<Session, 'client'>,
  profile: string,
): Promise<Standing | undefined> {
  try {
    const { checks } = await client.doctor({ profile, check: 'prefect' }, PATIENCE_MS)
    const trouble = checks.find(({ name, verdict }) => name === 'prefect' && verdict === 'problem')
    return trouble && { text: trouble.finding, ...defined({ hint: trouble.remedy }) }
  } catch (error) {
    const failure = failureOf(error)
    if (failure === undefined) throw error
    if (failure.code !== 'daemon_timeout') return undefined
    const seconds = PATIENCE_MS / SECOND_MS
    return { text: `Prefect has not answered within ${seconds} seconds`, hint: 'prefect-auth doctor' }
  }
}

/** Says what is wrong beside the result of a command, which has succeeded. */
export async function tellPrefectTrouble(
  session: Pick<Session, 'client' | 'say'>,
  profile: string,
): Promise<void> {
  const trouble = await findPrefectTrouble(session, profile)
  if (trouble === undefined) return
  session.say(`note: ${printable(trouble.text)}`)
  if (trouble.hint !== undefined) session.say(`try: ${printable(trouble.hint)}`)
}
