/** Whether the self-hosted server of a profile answers, for commands that show or choose the profile. */

import { failureOf } from '../client/failure.js'
import { defined } from '../std/defined.js'
import type { Session } from './session.js'
import type { Standing } from './standing-here.js'
import { printable } from './text.js'

/** Asks the server now, through the daemon; `undefined` if all is well. An older daemon, which cannot ask, finds nothing. */
export async function findServerTrouble(
  { client }: Pick<Session, 'client'>,
  profile: string,
): Promise<Standing | undefined> {
  try {
    const { checks } = await client.doctor({ profile, check: 'prefect' })
    const trouble = checks.find(({ name, verdict }) => name === 'prefect' && verdict === 'problem')
    return trouble && { text: trouble.finding, ...defined({ hint: trouble.remedy }) }
  } catch (error) {
    if (failureOf(error) === undefined) throw error
    return undefined
  }
}

/** Says what is wrong with the server of a profile beside the result of a command, which has succeeded. */
export async function tellServerTrouble(
  session: Pick<Session, 'client' | 'say'>,
  profile: string,
): Promise<void> {
  const trouble = await findServerTrouble(session, profile)
  if (trouble === undefined) return
  session.say(`note: ${printable(trouble.text)}`)
  if (trouble.hint !== undefined) session.say(`try: ${printable(trouble.hint)}`)
}
