/** Counts the starts of a daemon that launchd keeps alive, and gives up loudly where none of them lasts. */

import { startBookPath } from '../config/paths.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { createDesktopNotifier } from '../status/notify-desktop.js'
import type { Clock } from '../std/clock.js'
import type { Log } from '../std/log.js'
import { formatDuration } from '../std/time.js'
import { FAILURES_WITHIN_MS, planStart } from './count-starts.js'
import { clearStartBook, readStartBook, writeStartBook } from './start-book.js'

export interface CountStartDeps {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
}

export type CountedStart =
  /** `endedWell`: it ends because it was asked to. Never rejects. */
  | { readonly kind: 'start'; endedWell(): Promise<void> }
  /** It has been said; launchd leaves alone what ends with code 0. */
  | { readonly kind: 'given_up' }

/** Before anything that can fail: a setting that is not valid is a failed start, too. Never rejects. */
export async function countStart(deps: CountStartDeps): Promise<CountedStart> {
  const { env, stateDir, clock, log } = deps
  // Said by the agent's own file: see service-plan.ts.
  if (env.PREFECT_AUTHD_STARTED_BY !== 'launchd') return { kind: 'start', endedWell: async () => undefined }
  const path = startBookPath(stateDir)
  const plan = planStart(await readStartBook(path), clock.now())
  try {
    await ensurePrivateDirectory(stateDir)
    await writeStartBook(path, plan.book)
  } catch (error) {
    // The start will say it better. What can't be counted is not given up.
    log.warn({ error }, 'this start could not be counted')
    return { kind: 'start', endedWell: async () => undefined }
  }
  if (plan.kind === 'give_up') {
    await giveUp(deps, plan.failures)
    return { kind: 'given_up' }
  }
  const endedWell = () => clearStartBook(path)
  clock.after(FAILURES_WITHIN_MS, () => void endedWell())
  return { kind: 'start', endedWell }
}

async function giveUp({ env, platform, clock, log }: CountStartDeps, failures: number): Promise<void> {
  const hint = 'prefect-auth logs      (then: prefect-auth service install)'
  const within = formatDuration(FAILURES_WITHIN_MS)
  log.error({ failures, within, hint }, 'GIVEN UP: every start failed, and the daemon stays down')
  await createDesktopNotifier({ platform, env, clock, log })({
    title: 'Prefect: the credential daemon does not start',
    body: `${failures} starts failed within ${within}; it stays down.\nNow: ${hint}`,
  })
}
