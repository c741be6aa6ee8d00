/** The broker: every part of the product plugged together, once. Opened parts in, a working broker out. */

import { showQuestions } from '../asks/notifier.js'
import { settleOldEntries } from '../keys/first-version.js'
import { createAppParts } from './app-parts.js'
import { createCore } from './core.js'
import { createFeatures } from './features.js'
import type { BrokerParts } from './open-parts.js'

export type Broker = Awaited<ReturnType<typeof createBroker>>

/** Reads the keys in use from the vault, for a second at most. Never rejects; does not touch the network or the state yet. */
export async function createBroker(parts: BrokerParts) {
  const core = await createCore(parts)
  const features = createFeatures(parts, core)
  const { store, log } = parts
  const { changes, journal, keeper, credentials, settle, tokens } = core
  const { renewal, stopNotifying, minder, mindJobs, logins, files, shares } = features
  const app = createAppParts(parts, core, features)
  const hideQuestions = showQuestions({
    ...{ events: core.events, asks: app.desk.asks, audit: parts.audit, clock: parts.clock },
    ...{ askDesktop: parts.askDesktop, notify: parts.notify, log: log.child({ part: 'asks' }) },
  })
  return {
    ...core,
    ...features,
    app,

    /**
     * Finishes, without the network, what the last run left: idle times of tokens, interrupted changes. Rejects
     * with `disk_failed`. Call it before anything is served.
     */
    async resume(): Promise<void> {
      // First: every moment that a port is free, another program can take it.
      await logins.resume()
      await tokens.resume()
      await settleOldEntries({ store, keeper, journal, log })
      await changes.recover({ isOnline: false })
      await settle()
    },
    /** Another user was found on our TCP port: what jobs sent there may be in his hands. Never rejects. */
    async parkJobs(): Promise<void> {
      try {
        const count = await tokens.parkJobs()
        if (count === 0) return
        core.events.emit('token.parked', { facts: { count } })
        log.warn(
          { count, hint: 'prefect-auth token ls' },
          'job tokens parked: another user holds the TCP port',
        )
      } catch (error) {
        log.error({ error }, 'job tokens were not parked')
      }
    },
    /** Finishes what a crash or an unreachable Prefect left in the journal. */
    async recover(): Promise<void> {
      await changes.recover({ isOnline: true })
      await renewal.recover()
      await minder.look()
      await files.look()
      shares.start()
    },
    /** Looks at everything that changes outside the daemon. `awakeMs`: since the last look. */
    async look(awakeMs: number): Promise<void> {
      await parts.state.retry()
      await keeper.retryFailed()
      await store.refresh()
      await changes.recover({ isOnline: false })
      await minder.look()
      await files.look()
      await mindJobs(awakeMs)
    },
    /** Cancels open logins and saves what is only in memory. Close `renewal` first. */
    async close(): Promise<void> {
      await logins.close()
      await shares.close()
      await files.close()
      await minder.close()
      await hideQuestions()
      await stopNotifying()
      await tokens.close().catch((error: unknown) => log.warn({ error }, 'tokens were not written'))
      await credentials.close()
    },
  }
}
