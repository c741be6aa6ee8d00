/** The broker: every part of the product plugged together, once. Opened parts in, a working broker out. */

import { createJobMinder } from '../admin/age-jobs.js'
import { createProfileMinder } from '../admin/follow-profiles.js'
import { createKeyAdmin } from '../admin/keys.js'
import { createRecogniser } from '../admin/own-keys.js'
import { createProfileAdmin } from '../admin/profiles.js'
import { createRenameFollower } from '../admin/renames.js'
import { createServiceAccountDirectory } from '../admin/service-accounts.js'
import { createVaultAdmin } from '../admin/vault.js'
import { createWorkspaceAdmin } from '../admin/workspaces.js'
import type { AppDeps } from '../api/context.js'
import { settleOldEntries } from '../keys/first-version.js'
import { lateKeyNotices } from '../login/ports.js'
import { createLoginSessions } from '../login/sessions.js'
import { findLoginTarget } from '../login/target.js'
import { askServer } from '../prefect/server.js'
import { createProxyRejection } from '../proxy/rejection.js'
import { createRenewal } from '../renewal/renewal.js'
import { planConnectionExamination } from '../status/connections.js'
import { planExaminations, planRenewalExamination } from '../status/doctor.js'
import { noticesOfJobs, planJobExamination } from '../status/jobs.js'
import { notifyPeople } from '../status/notify.js'
import { createInspection } from '../status/status.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { type Core, createCore } from './core.js'
import { createIdleExit } from './idle.js'
import type { BrokerParts } from './open-parts.js'

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
    changes,
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
    followRename: createRenameFollower({ ...files, changes, log: log.child({ part: 'profiles' }) }),
    recognise: createRecogniser({
      ...files,
      changes,
      cloud,
      now,
      settle,
      log: log.child({ part: 'profiles' }),
    }),
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
    ports: parts.state.loginPorts,
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
    isOnDemand: parts.facts.isOnDemand === true,
    tokens,
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
  const notices = () => [...parts.state.notices, ...parts.state.limits()]
  const inspection = createInspection({
    credentials,
    vault,
    logins,
    renewal: renewal.admin,
    notices: () => [
      ...notices(),
      ...lateKeyNotices(logins.ports()),
      ...idle.notices(),
      ...audit.notices(),
      ...noticesOfJobs(tokens.list()),
    ],
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
        askServer: ({ apiUrl = '', authString, profile }) => {
          const { connection } = credentials.state(profile).resolved
          const caller = { dispatcherFor: agent.dispatcherFor, clock, ...defined({ connection }) }
          return askServer(caller, { apiUrl, ...defined({ authString }) })
        },
        clockSkewMs: (profile) => times.of(credentials.state(profile).resolved.cloudApiUrl).skewMs(),
        trouble: () => parts.state.trouble(),
        auditProblem: () => audit.problem(),
        now: () => clock.now(),
      }),
      planRenewalExamination({ credentials, renewal: renewal.admin }),
      planConnectionExamination({ credentials }),
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
    serviceAccountDirectory: createServiceAccountDirectory({ ...keys, turns }),
    workspaces: createWorkspaceAdmin({ ...keys, changes, settle, now: () => clock.now() }),
    keys: createKeyAdmin({ ...keys, disposal, turns, times, newId: parts.newId, log }),
    vault: createVaultAdmin({ vault, keeper, events, settle }),
    way: { dispatcherFor: agent.dispatcherFor, onRejected },
    proxyAllow: settings['proxy.allow'],
    findCaller: parts.findCaller,
    setLogLevel: (level) => log.setLevel(level),
    shutdown: () => parts.onShutdown('asked'),
  }
}
