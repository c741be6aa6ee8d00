/** The broker: every part of the product plugged together, once. Opened parts in, a working broker out. */

import { createJobMinder } from '../admin/age-jobs.js'
import { createProfileMinder } from '../admin/follow-profiles.js'
import { createKeyAdmin } from '../admin/keys.js'
import { createProfileAdmin } from '../admin/profiles.js'
import { createVaultAdmin } from '../admin/vault.js'
import { createWorkspaceAdmin } from '../admin/workspaces.js'
import type { AppDeps } from '../api/context.js'
import type { BrokerError } from '../base/errors.js'
import { createEvents, type Events } from '../base/events.js'
import { createChanges } from '../keys/change.js'
import { createDisposal } from '../keys/disposal.js'
import { settleOldEntries } from '../keys/first-version.js'
import { createKeyKeeper } from '../keys/keeper.js'
import { createRevocation } from '../keys/revocation.js'
import { createKeyRotator } from '../keys/rotate.js'
import { createTurns } from '../keys/turns.js'
import { createVerdicts } from '../keys/verdicts.js'
import { createAcceptLogin } from '../login/accept.js'
import { createLoginSessions } from '../login/sessions.js'
import { findLoginTarget } from '../login/target.js'
import { createProxyRejection } from '../proxy/rejection.js'
import { renewalMoment } from '../renewal/due.js'
import { createRenewal } from '../renewal/renewal.js'
import { createCredentials } from '../serve/serve.js'
import { planExaminations, planRenewalExamination } from '../status/doctor.js'
import { noticesOfJobs, planJobExamination } from '../status/jobs.js'
import { notifyPeople } from '../status/notify.js'
import { createInspection } from '../status/status.js'
import { type Clock, MINUTE_MS, SECOND_MS, sleep } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { createTokens } from '../tokens/issue.js'
import { createIdleExit } from './idle.js'
import type { BrokerParts } from './open-parts.js'

/** How long a start waits for the vault. */
const VAULT_WAIT_MS = SECOND_MS
const CONFIRM_MS = 10 * MINUTE_MS

export type Broker = Awaited<ReturnType<typeof createBroker>>

/** Reads the keys in use from the vault, for a second at most. Never rejects; does not touch the network or the state yet. */
export async function createBroker(parts: BrokerParts) {
  const core = await createCore(parts)
  const features = createFeatures(parts, core)
  const { store, log } = parts
  const { changes, journal, keeper, credentials, settle, tokens } = core
  const { renewal, stopNotifying, minder, mindJobs, logins } = features
  return {
    ...core,
    ...features,
    app: createAppParts(parts, core, features),

    /**
     * Finishes, without the network, what the last run left: idle times of tokens, interrupted changes. Rejects
     * with `disk_failed`. Call it before anything is served.
     */
    async resume(): Promise<void> {
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
    },
    /** Looks at everything that changes outside the daemon. `awakeMs`: since the last look. */
    async look(awakeMs: number): Promise<void> {
      await parts.state.retry()
      await keeper.retryFailed()
      await store.refresh()
      await changes.recover({ isOnline: false })
      await minder.look()
      await mindJobs(awakeMs)
    },
    /** Cancels open logins and saves what is only in memory. Close `renewal` first. */
    async close(): Promise<void> {
      await logins.close()
      await minder.close()
      await stopNotifying()
      await tokens.close().catch((error: unknown) => log.warn({ error }, 'tokens were not written'))
      await credentials.close()
    },
  }
}

/** Resolves when `work` does, or after `ms`; `work` must not reject. */
async function within(work: Promise<void>, ms: number, clock: Clock): Promise<void> {
  const over = new AbortController()
  await Promise.race([work, sleep(clock, ms, over.signal).catch(() => undefined)])
  over.abort()
}

type Core = Awaited<ReturnType<typeof createCore>>

/** Keys, what is served of them, and everything that changes which key that is. */
async function createCore(parts: BrokerParts) {
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
  const tokens = createTokens({ document, clock, newId, randomToken, identifyProcess })

  const turns = createTurns()
  const disposal = createDisposal({ cloud, keeper, store })
  const changes = createChanges({
    store,
    keeper,
    turns,
    revocation: createRevocation({ keeper, disposal, times }),
    clock,
    newId,
    log: log.child({ part: 'changes' }),
    hold: credentials.hold,
    settle,
  })
  const rotator = createKeyRotator({
    keeper,
    vault,
    cloud,
    disposal,
    turns,
    events,
    clock,
    times,
    newId,
    journal,
    random,
    log: log.child({ part: 'rotation' }),
    hostname: parts.hostname,
    lifetimeMs: settings['renewal.key_lifetime'],
  })
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

type Features = ReturnType<typeof createFeatures>

/** Renewal, logins, changes of profiles, and the idle exit. */
function createFeatures(parts: BrokerParts, core: Core) {
  const { settings, defaults, clock, times, random, newId, log, vault, store, audit } = parts
  const { events, journal, keeper, verdicts, cloud, credentials, settle, tokens } = core
  const { turns, disposal, changes, rotator, acceptLogin } = core
  const retireAfterMs = settings['renewal.retire_after']
  const now = () => clock.now()
  const renewal = createRenewal({
    keeper,
    credentials,
    vault,
    cloud,
    disposal,
    turns,
    rotator,
    journal,
    events,
    verdicts,
    times,
    clock,
    settle,
    newId,
    ...defined({ retireAfterMs }),
    random,
    log: log.child({ part: 'renewal' }),
  })
  const stopNotifying = notifyPeople({ events, notify: parts.notify })
  // The person may not have to do it: Prefect may take the old key again.
  events.onEvent(({ type, profile = '' }) => {
    if (type === 'login.started' && keeper.current(profile)?.rejectedAt !== undefined) {
      void renewal.renewIfDue(profile)
    }
  })

  const files = { store, keeper, credentials, events }
  const profiles = createProfileAdmin({
    ...files,
    ...{ cloud, changes, rotator, defaults, newId, settle, now },
  })
  const minder = createProfileMinder({
    ...files,
    audit,
    changes,
    clock,
    newId,
    admin: profiles,
    log: log.child({ part: 'profiles' }),
    policy: { adopt: settings['profiles.adopt'], mirror: settings['profiles.mirror'] },
  })
  const mindJobs = createJobMinder({ tokens, credentials, audit, clock, log: log.child({ part: 'jobs' }) })

  const logins = createLoginSessions({
    clock,
    cloud,
    events,
    newId,
    log: log.child({ part: 'login' }),
    newState: parts.randomToken,
    target: (profile) => findLoginTarget({ store, keeper, defaults }, profile),
    openCallback: parts.openCallback,
    keep: acceptLogin.keep,
    policy: {
      timeoutMs: settings['login.timeout'],
      confirmMs: CONFIRM_MS,
      stateInPath: settings['login.state_in_path'],
    },
  })
  const idle = createIdleExit({
    afterMs: settings.idle_exit,
    clock,
    log: log.child({ part: 'idle' }),
    wakeTimer: parts.wakeTimer,
    hasOwnLogLevel: () => log.level() !== settings['log.level'],
    isStateBehind: () => parts.state.trouble() !== undefined,
    leave: () => parts.onShutdown('idle'),
    credentials,
    keeper,
    vault,
    logins,
    journal,
    renewal,
    times,
    listeners: parts.listeners,
    ...defined({ retireAfterMs }),
  })
  return { renewal, stopNotifying, profiles, minder, mindJobs, logins, idle }
}

/** The parts of the HTTP API. */
function createAppParts(parts: BrokerParts, core: Core, features: Features): AppDeps {
  const { clock, times, log, audit, vault, facts, agent, settings } = parts
  const { events, keeper, cloud, credentials, settle, tokens } = core
  const { renewal, profiles, logins, idle } = features
  const startedAt = clock.now()
  const listeners = () => parts.listeners
  const notices = () => parts.state.notices
  const inspection = createInspection({
    credentials,
    vault,
    logins,
    renewal: renewal.admin,
    notices: () => [...notices(), ...idle.notices(), ...audit.notices(), ...noticesOfJobs(tokens.list())],
    trouble: () => parts.state.trouble(),
    daemon: () => ({ ...facts, startedAt, logLevel: log.level() }),
    listeners,
    examinations: [
      ...planExaminations({
        credentials,
        cloud,
        vault,
        notices,
        listeners,
        clockSkewMs: () => times.of(credentials.state().resolved.cloudApiUrl).skewMs(),
        trouble: () => parts.state.trouble(),
        auditProblem: () => audit.problem(),
        now: () => clock.now(),
      }),
      planRenewalExamination({ credentials, renewal: renewal.admin }),
      planJobExamination({ tokens, listeners }),
      ...idle.examinations,
    ],
  })
  const { changes, disposal, turns } = core
  const keys = { credentials, keeper, cloud }
  const renew = renewal.renewIfDue
  const onRejected = createProxyRejection({
    credentials,
    cloud,
    clock,
    renew,
    log: log.child({ part: 'proxy' }),
  })
  return {
    version: facts.version,
    clock,
    log: log.child({ part: 'http' }),
    audit,
    events,
    tokens,
    credentials,
    logins,
    profiles,
    inspection,
    renewal: renewal.admin,
    serviceAccounts: renewal.serviceAccounts,
    workspaces: createWorkspaceAdmin({ ...keys, changes, settle }),
    keys: createKeyAdmin({ ...keys, disposal, turns }),
    vault: createVaultAdmin({ vault, keeper, events, settle }),
    way: { dispatcherFor: agent.dispatcherFor, onRejected },
    proxyAllow: settings['proxy.allow'],
    setLogLevel: (level) => log.setLevel(level),
    shutdown: () => parts.onShutdown('asked'),
  }
}
