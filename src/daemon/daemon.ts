/** The daemon: opens the parts in order, runs the broker on a clock, and closes everything in reverse. */

import { createFront } from '../api/front.js'
import { generationFile } from '../config/paths.js'
import { openJobAgent } from '../prefect/agent.js'
import type { StatusSnapshot } from '../status/status.js'
import { MINUTE_MS, SECOND_MS } from '../std/clock.js'
import { startTicking } from '../std/tick.js'
import type { ListenerFacts } from '../tokens/access.js'
import { type Broker, createBroker } from './broker.js'
import { openDoors } from './doors.js'
import { type GenerationFile, keepGenerationFile } from './generation-file.js'
import { type DaemonOptions, openParts } from './open-parts.js'

export interface Daemon {
  snapshot(): StatusSnapshot
  close(): Promise<void>
}

const TICK_MS = 30 * SECOND_MS
/** How often unfinished journal entries are tried again. */
const RECOVER_MS = 10 * MINUTE_MS

/** Rejects if a part cannot be opened, after closing those before it. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const closers: Closer[] = []
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer()
  }
  try {
    const snapshot = await start(options, (closer) => closers.push(closer))
    return { snapshot, close }
  } catch (error) {
    await close()
    throw error
  }
}

type Closer = () => Promise<unknown> | undefined
type OnClose = (closer: Closer) => void

async function start(options: DaemonOptions, onClose: OnClose): Promise<Daemon['snapshot']> {
  const listeners: ListenerFacts[] = []
  const parts = await openParts(options, listeners, onClose)
  const agent = openJobAgent(options.env)
  const broker = await createBroker({ ...parts, agent })
  onClose(() => broker.close())
  onClose(() => agent.close())
  await broker.resume()
  // The next tick may be half a minute away: a key that is due is renewed when it is used, too.
  broker.credentials.onUse(broker.renewal.glance)
  // Its directory is there when the listeners are open.
  let shells: GenerationFile | undefined
  const app = createFront(broker.app, async (front) => {
    // Half of a start, and nothing that hands out credentials needs it.
    const { buildBackroom } = await import('../api/app.js')
    return buildBackroom({ ...broker.app, told: async () => shells?.settled() }, front)
  })
  onClose(() => app.close())
  const doors = await openDoors(options, app, listeners)
  onClose(() => doors.leave())
  const { clock, log } = options
  const { events, credentials } = broker
  const path = generationFile(options.paths.socket)
  const file = keepGenerationFile({ path, credentials, events, clock, log })
  shells = file
  onClose(() => file.close())
  const mind = async () => {
    await doors.look()
    await file.look()
  }
  const minding = startTicking({ clock, everyMs: TICK_MS, log, run: mind })
  onClose(() => minding.close())
  if (listeners.some(({ isForeign }) => isForeign)) await broker.parkJobs()
  // What needs the network comes after the listeners are open: a start never waits for Prefect.
  const begun = startWork(options, broker, onClose)
  void begun.then(() => broker.idle.watch(app))
  // Closed first: whatever waits for Prefect ends when its calls do; a key being minted gets its time.
  onClose(() => parts.cloud.close())
  onClose(async () => broker.events.emit('daemon.stopping'))
  onClose(async () => broker.idle.close())
  broker.events.emit('daemon.started', { facts: { version: options.version } })
  return broker.app.inspection.status
}

/** Runs the broker on the clock. Resolves after the first recovery, when the first renewal tick has begun. */
function startWork({ clock, log }: DaemonOptions, broker: Broker, onClose: OnClose): Promise<void> {
  const ticking = startTicking({ clock, everyMs: TICK_MS, log, run: () => broker.look(TICK_MS) })
  onClose(() => ticking.close())
  const recovering = startTicking({ clock, everyMs: RECOVER_MS, log, run: broker.recover })
  const recovered = broker
    .recover()
    .catch((error: unknown) => log.error({ error }, 'recovery after the start failed; will retry'))
  onClose(() => Promise.all([recovering.close(), recovered]))
  // A tick never waits for Prefect: the next one must see the clock again in time.
  const renew = async () => void broker.renewal.tick()
  const renewing = startTicking({ clock, everyMs: TICK_MS, log, run: renew })
  const renewed = recovered.then(renew)
  onClose(() => Promise.all([renewing.close(), renewed.then(() => broker.renewal.close())]))
  return renewed
}
