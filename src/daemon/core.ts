/** The core of the broker: keys, what is served of them, and everything that changes which key that is. */

import type { BrokerError } from '../base/errors.js'
import { createEvents, type Events } from '../base/events.js'
import { createChanges } from '../keys/change.js'
import { createDisposal } from '../keys/disposal.js'
import { createKeyKeeper } from '../keys/keeper.js'
import { createRevocation } from '../keys/revocation.js'
import { createKeyRotator } from '../keys/rotate.js'
import { createSettlement } from '../keys/settlement.js'
import { createTurns } from '../keys/turns.js'
import { createVerdicts } from '../keys/verdicts.js'
import { createAcceptLogin } from '../login/accept.js'
import { renewalMoment } from '../renewal/due.js'
import { createCredentials } from '../serve/serve.js'
import { type Clock, SECOND_MS, sleep } from '../std/clock.js'
import { createTokenSecret } from '../tokens/derive.js'
import { createTokens } from '../tokens/issue.js'
import type { BrokerParts } from './open-parts.js'

/** How long a start waits for the vault. */
const VAULT_WAIT_MS = SECOND_MS

/** Resolves when `work` does, or after `ms`; `work` must not reject. */
async function within(work: Promise<void>, ms: number, clock: Clock): Promise<void> {
  const over = new AbortController()
  await Promise.race([work, sleep(clock, ms, over.signal).catch(() => undefined)])
  over.abort()
}

export type Core = Awaited<ReturnType<typeof createCore>>

/** Keys, what is served of them, and everything that changes which key that is. */
export async function createCore(parts: BrokerParts) {
  const { settings, defaults, clock, times, random, newId, randomToken, log, vault, store, audit } = parts
  const { ledger, journal, tokens: document } = parts.state
  const events = createEvents({ clock, log, epoch: newId() })
  parts.state.onTrouble((trouble) => announceTrouble(events, trouble))
  const keeper = createKeyKeeper({ vault, ledger, clock, times, log: log.child({ part: 'keys' }) })
  const verdicts = createVerdicts({ keeper, events, times, clock, log: log.child({ part: 'keys' }) })
  // Nothing asks Prefect but through this: every answer counts.
  const cloud = verdicts.listen(parts.cloud)
  // Before anybody listens: what is served is decided only once interrupted changes are settled.
  // A vault that hangs must not keep the listeners closed: what it has not given by then is read in the background.
  await within(keeper.load(), VAULT_WAIT_MS, clock)
  const credentials = createCredentials({
    store,
    keeper,
    events,
    clock,
    defaults,
    log: log.child({ part: 'credentials' }),
    verdicts,
    renewsAt: (item) => renewalMoment(keeper, item),
  })
  const settle = () => credentials.settle()
  const { identifyProcess } = parts
  const loadSecret = createTokenSecret({ vault, randomToken })
  const tokens = createTokens({ document, clock, newId, randomToken, identifyProcess, loadSecret })

  const turns = createTurns()
  const disposal = createDisposal({ cloud, keeper, store })
  const changes = createChanges({
    store,
    keeper,
    cloud,
    turns,
    revocation: createRevocation({ keeper, disposal, times }),
    clock,
    newId,
    log: log.child({ part: 'changes' }),
    hold: credentials.hold,
    settle,
  })
  const rotation = {
    ...{ keeper, cloud, turns, journal, times },
    log: log.child({ part: 'rotation' }),
    lifetimeMs: settings['renewal.key_lifetime'],
  }
  const settlement = createSettlement({ ...rotation, disposal, events, clock, random })
  const { hostname } = parts
  const rotator = createKeyRotator({ ...rotation, settlement, vault, newId, hostname })
  const acceptLogin = createAcceptLogin({
    keeper,
    changes,
    defaults,
    rotator,
    events,
    audit,
    times,
    newId,
    settle,
    log: log.child({ part: 'login' }),
  })
  const acts = { turns, disposal, changes, rotator, acceptLogin }
  return { events, journal, keeper, verdicts, cloud, credentials, settle, tokens, ...acts }
}

/** Once when the state disk begins to fail, and once when it works again. */
function announceTrouble(events: Events, trouble: BrokerError | undefined): void {
  if (trouble === undefined) return void events.emit('state.recovered')
  const { message, hint = '' } = trouble
  events.emit('state.degraded', { facts: { message, hint } })
}
