/** `prefect-auth share init NAME --probe`: what Prefect does with the keys of a service account, tried on one that nobody needs. */

import type { ProbeAnswer } from '../../wire/shares.js'
import { askYes, requirePerson } from '../ask.js'
import { cancelled } from '../failure.js'
import type { Session } from '../session.js'
import { printable } from '../text.js'

/** Every machine reads the store once in this time, unless it was asked for another one. */
const EVERY_S = 60

export async function probe(
  session: Session,
  name: string,
  { serviceAccount, yes = false }: { readonly serviceAccount?: string; readonly yes?: boolean },
): Promise<number> {
  const subject =
    serviceAccount === undefined
      ? 'creates a service account at Prefect, rotates its key twice, and deletes it'
      : `rotates the key of service account ${printable(serviceAccount)} at Prefect three times: its present key ends within 20 minutes`
  session.say(`The probe ${subject}. It takes up to ten minutes.`)
  if (!yes) {
    const command = `prefect-auth share init ${printable(name)} --probe --yes`
    requirePerson(session, 'the probe asks before it does anything at Prefect', command)
    if (!(await askYes(session, 'Go on?'))) throw cancelled()
  }
  const found = await session.client.probeShare(name, serviceAccount)
  session.answer(found, () => [...describe(found), '', ...advise(name, found)].join('\n'))
  return found.has_overlap && !found.is_left ? 0 : 1
}

function describe(found: ProbeAnswer): readonly string[] {
  const { accepted_after_s, listed_after_s, ended_after_s = 0, has_overlap, older_keys } = found
  return [
    `Found at Prefect, with service account ${printable(found.service_account)}:`,
    `  a new key is accepted ${delay(accepted_after_s)}`,
    `  the list names a new key ${delay(listed_after_s)}`,
    has_overlap
      ? '  a replaced key works on, as asked'
      : '  a replaced key does not work on for as long as was asked',
    older_keys === 'independent'
      ? '  the keys before it live until their own end: six minutes after a second rotation the first key still worked'
      : `  one key before the newest lives: a second rotation ended the first key ${delay(ended_after_s)}`,
  ]
}

function delay(seconds: number | undefined): string {
  if (seconds === undefined) return 'not within two minutes'
  return seconds <= 1 ? 'at once' : `after ${seconds} s at most`
}

/** What to set, or to do. */
function advise(name: string, found: ProbeAnswer): readonly string[] {
  const { accepted_after_s, listed_after_s, has_overlap, older_keys, is_left, left_over } = found
  const late = Math.max(accepted_after_s ?? 120, listed_after_s ?? 120)
  // What is seen a minute apart must not be older than that.
  const every = Math.max(EVERY_S, 2 * late)
  const flag = every > EVERY_S ? ` --every ${every}s` : ''
  const left = is_left ? [found.service_account, ...left_over] : left_over
  return [
    ...(has_overlap
      ? [`To set: prefect-auth share init ${printable(name)} --service-account NAME${flag}`]
      : ['Do not share a key of this account: jobs would lose it with each rotation.']),
    ...(older_keys === 'one_previous'
      ? [
          'After a lost answer the next rotation ends the key in use: run jobs behind exec --proxy, where they wait.',
        ]
      : []),
    ...left.map((one) => `Left at Prefect: prefect-auth service-account delete ${printable(one)} --yes`),
  ]
}
