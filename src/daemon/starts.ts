/** Counts the starts of a daemon that launchd keeps alive; gives up, with a notification, if none lasts. */

import { unlink } from 'node:fs/promises'
import { z } from 'zod'
import { startBookPath } from '../config/paths.js'
import { writeFileAtomic } from '../os/atomic-file.js'
import { ensurePrivateDirectory, readPrivateFile } from '../os/private-files.js'
import { createDesktopNotifier } from '../status/notify-desktop.js'
import { type Clock, MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import type { Log } from '../std/log.js'
import { formatDuration } from '../std/time.js'

interface StartBook {
  /** Starts that have not ended well, including the running one. Epoch ms, oldest first. */
  readonly starts: readonly number[]
  /** Epoch ms; absent: not given up. */
  readonly givenUpAt?: number
}

type StartPlan =
  | { readonly kind: 'start'; readonly book: StartBook }
  | { readonly kind: 'give_up'; readonly book: StartBook; readonly failures: number }

export const MOST_FAILURES = 5
/** So many failures within this time are too many; a start that lasts longer is a good one. */
export const FAILURES_WITHIN_MS = 10 * MINUTE_MS

/** Pure. Write `book` to the disk before anything else is tried. */
export function planStart({ starts, givenUpAt }: StartBook, now: number): StartPlan {
  // After an exit with code 0 only a person or a login starts it again: the cause may be fixed.
  if (givenUpAt !== undefined) return { kind: 'start', book: { starts: [now] } }
  // A start in the future was written while the clock was wrong.
  const recent = starts.filter((at) => at <= now && now - at < FAILURES_WITHIN_MS)
  if (recent.length < MOST_FAILURES) return { kind: 'start', book: { starts: [...recent, now] } }
  return { kind: 'give_up', book: { starts: recent, givenUpAt: now }, failures: recent.length }
}

interface CountStartDeps {
  readonly env: Readonly<Record<string, string | undefined>>
  readonly platform: NodeJS.Platform
  readonly stateDir: string
  readonly clock: Clock
  readonly log: Log
}

type CountedStart =
  /** Call `endedWell` when the daemon ends because it was asked to. Never rejects. */
  | { readonly kind: 'start'; endedWell(): Promise<void> }
  /** Already logged; exit with code 0, so that launchd does not start it again. */
  | { readonly kind: 'given_up' }

/** Call it before anything that can fail: an invalid setting is a failed start, too. Never rejects. */
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
    // The start itself reports this better. A start that cannot be counted is never given up.
    log.warn({ error }, 'start not counted')
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
  log.error({ failures, within, hint }, 'GIVEN UP: every start failed; the daemon stays down')
  await createDesktopNotifier({ platform, env, clock, log })({
    title: 'Prefect: the credential daemon does not start',
    body: `${failures} starts failed within ${within}; it stays down.\nNow: ${hint}`,
  })
}

const schema = z.object({ starts: z.array(z.number()), givenUpAt: z.number().optional() })

async function readStartBook(path: string): Promise<StartBook> {
  try {
    const { starts, givenUpAt } = schema.parse(JSON.parse(String(await readPrivateFile(path))))
    return { starts, ...defined({ givenUpAt }) }
  } catch {
    return { starts: [] }
  }
}

async function writeStartBook(path: string, book: StartBook): Promise<void> {
  await writeFileAtomic(path, `${JSON.stringify(book)}\n`)
}

/** Forgets all starts. Never rejects. */
async function clearStartBook(path: string): Promise<void> {
  await unlink(path).catch(() => undefined)
}
