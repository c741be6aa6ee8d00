/** Ends a daemon that nobody asks (`idle_exit`), and says why where it does not. Gathers what the decision goes by. */

import type { App } from '../api/app.js'
import { isHalfDone, type Journal } from '../keys/journal.js'
import type { Document } from '../keys/ledger.js'
import type { LoginSessions } from '../login/login.js'
import type { ServerTime } from '../prefect/server-time.js'
import { type NextDutyDeps, nextDutyAt } from '../renewal/due.js'
import type { Renewal } from '../renewal/renewal.js'
import type { Examination } from '../status/doctor.js'
import type { ListenerFacts } from '../status/status.js'
import type { Timer } from '../std/clock.js'
import { formatDuration } from '../std/time.js'
import type { Vault } from '../vault/vault.js'
import { decideIdleExit, type IdleFacts, lastingObstacle } from './idle-exit.js'
import type { DaemonOptions } from './options.js'
import { createWakeTimer } from './wake-timer.js'

export interface IdleParts extends Omit<NextDutyDeps, 'now'> {
  readonly listeners: readonly ListenerFacts[]
  readonly vault: Vault
  readonly logins: LoginSessions
  readonly journal: Document<Journal>
  readonly renewal: Renewal
  readonly time: ServerTime
}

export interface IdleExit {
  /** Begins to look, once all is open. */
  watch(app: App): void
  /** What a person should know of a setting that has no effect. */
  notices(): readonly string[]
  readonly examinations: readonly Examination[]
  close(): void
}

export function createIdleExit(options: DaemonOptions, parts: IdleParts): IdleExit {
  const { idle_exit: afterMs } = options.settings
  if (afterMs === 'off') {
    return { watch: () => undefined, notices: () => [], examinations: [], close: () => undefined }
  }
  return createActive(options, parts, afterMs)
}

function createActive(options: DaemonOptions, parts: IdleParts, afterMs: number): IdleExit {
  const { clock } = options
  const log = options.log.child({ part: 'idle' })
  const wakeTimer = createWakeTimer({ env: options.env, clock })
  let timer: Timer | undefined
  let isClosed = false
  let said: string | undefined
  let app: App | undefined

  /** As if everybody had left. */
  const reasonToStay = (of: App, wakeInMs: number): string | undefined => {
    const alone = { ...gather(options, parts, of, afterMs), connections: 0, quietMs: afterMs, wakeInMs }
    const decision = decideIdleExit(alone)
    return decision.kind === 'stay' ? decision.because : undefined
  }
  const lookLater = (app: App, ms: number) => {
    timer = clock.after(ms, () => {
      look(app).catch((error: unknown) => {
        log.error({ error }, 'looking whether anybody needs the daemon failed')
        if (!isClosed) lookLater(app, afterMs)
      })
    })
  }
  const look = async (app: App): Promise<void> => {
    // As if the timer came at once: systemd is asked last, and seldom.
    let decision = decideIdleExit({ ...gather(options, parts, app, afterMs), wakeInMs: 0 })
    if (decision.kind === 'leave') {
      const wakeAt = await wakeTimer()
      const wake = wakeAt === undefined ? {} : { wakeInMs: wakeAt - clock.now() }
      decision = decideIdleExit({ ...gather(options, parts, app, afterMs), ...wake })
    }
    if (isClosed) return
    if (decision.kind === 'leave') return leave(app)
    if (decision.because !== said) {
      said = decision.because
      const { because } = decision
      if (decision.isLasting) log.warn({ because }, 'idle_exit has no effect')
      else log.debug({ because }, 'the daemon is needed')
    }
    lookLater(app, decision.againInMs)
  }
  /** In one turn with the decision: what comes now waits in the kernel, for the daemon that it starts. */
  const leave = (app: App) => {
    app.shutDoors()
    isClosed = true
    log.info({ after: formatDuration(afterMs) }, 'nobody asked: the daemon leaves until it is needed')
    options.onShutdown('idle')
  }
  return {
    watch(opened) {
      app = opened
      lookLater(opened, 0)
    },
    notices() {
      const obstacle = obstacleTo(parts)
      return obstacle === undefined ? [] : [`idle_exit has no effect: ${obstacle.because}`]
    },
    examinations: [
      {
        name: 'idle exit',
        async examine() {
          const obstacle = obstacleTo(parts)
          if (obstacle !== undefined) {
            const finding = `idle_exit has no effect: ${obstacle.because}`
            return { verdict: 'warning', finding, remedy: obstacle.hint }
          }
          const wakeAt = await wakeTimer()
          if (wakeAt !== undefined) {
            const held = app === undefined ? undefined : reasonToStay(app, wakeAt - clock.now())
            const finding = `after ${formatDuration(afterMs)} without a request`
            return { verdict: 'ok', finding: held === undefined ? finding : `${finding}; not now: ${held}` }
          }
          const finding = 'prefect-authd.timer does not run: with keys to renew, the daemon stays'
          return { verdict: 'warning', finding, remedy: 'prefect-auth service install' }
        },
      },
    ],
    close() {
      isClosed = true
      timer?.cancel()
    },
  }
}

function obstacleTo({ listeners, vault }: IdleParts): ReturnType<typeof lastingObstacle> {
  return lastingObstacle({ listeners, vault: vault.describe() })
}

function gather(options: DaemonOptions, parts: IdleParts, app: App, afterMs: number): IdleFacts {
  const { listeners, vault, logins, journal, renewal, time } = parts
  const now = time.clock.now()
  const dutyAt = nextDutyAt({ ...parts, now: () => now })
  return {
    ...{ afterMs, listeners, vault: vault.describe(), ...app.presence() },
    logins: logins.list().length,
    journalEntries: Object.values(journal.read().entries).filter(isHalfDone).length,
    isWorking: renewal.isBusy(),
    hasOwnLogLevel: options.log.level() !== options.settings['log.level'],
    ...(dutyAt === undefined ? {} : { dutyInMs: dutyAt - now }),
  }
}
