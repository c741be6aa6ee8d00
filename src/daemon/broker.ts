/** The broker: every part of the product plugged together, once. Opened parts in, a working broker out. */

import { createJobMinder } from '../admin/age-jobs.js'
import { createProfileMinder } from '../admin/follow-profiles.js'
import { createKeyAdmin } from '../admin/keys.js'
import { createProfileAdmin } from '../admin/profiles.js'
import { recoverRenames } from '../admin/rename.js'
import { createVaultAdmin } from '../admin/vault.js'
import { createWorkspaceAdmin } from '../admin/workspaces.js'
import type { AppDeps } from '../api/context.js'
import { createEvents } from '../base/events.js'
import { createKeyKeeper } from '../keys/keeper.js'
import { createKeyRotator } from '../keys/rotate.js'
import { createAcceptLogin } from '../login/accept.js'
import { lateKeyNotices } from '../login/ports.js'
import { createLoginSessions } from '../login/sessions.js'
import { findLoginTarget } from '../login/target.js'
import { createProxyRejection } from '../proxy/rejection.js'
import { renewalMoment } from '../renewal/due.js'
import { createRenewal } from '../renewal/renewal.js'
import { createCredentials } from '../serve/serve.js'
import { planExaminations, planRenewalExamination } from '../status/doctor.js'
import { notifyPeople } from '../status/notify.js'
import { createInspection } from '../status/status.js'
import { MINUTE_MS } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { createTokens } from '../tokens/issue.js'
import { createIdleExit } from './idle.js'
import type { BrokerParts } from './open-parts.js'

const CONFIRM_MS = 10 * MINUTE_MS

export type Broker = Awaited<ReturnType<typeof createBroker>>

/** Reads the keys in use from the vault. Never rejects; does not touch the network or the state yet. */
export async function createBroker(parts: BrokerParts) {
  const core = await createCore(parts)
  const features = createFeatures(parts, core)
  const { store, newId, log } = parts
  const { journal, keeper, credentials, settle, tokens, acceptLogin } = core
  const { renewal, stopNotifying, minder, mindJobs, logins } = features
  return {
    ...core,
    ...features,
    app: createAppParts(parts, core, features),

    /**
     * Finishes, without the network, what the last run left: idle times of tokens, interrupted renames and logins. Rejects
     * with `disk_failed`. Call it before anything is served.
     */
    async resume(): Promise<void> {
      // First: every moment that a port is free, another program can take it.
      await logins.resume()
      await tokens.resume()
      await recoverRenames({ store, keeper, journal, newId }, log)
      await acceptLogin.recover()
      await settle()
    },
    /** Finishes what a crash or an unreachable Prefect left in the journal. */
    async recover(): Promise<void> {
      await acceptLogin.recover()
      await renewal.recover()
      await minder.look()
    },
    /** Looks at everything that changes outside the daemon. `awakeMs`: since the last look. */
    async look(awakeMs: number): Promise<void> {
      await keeper.retryFailed()
      await store.refresh()
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

type Core = Awaited<ReturnType<typeof createCore>>

/** Keys, what is served of them, and everything that changes which key that is. */
async function createCore(parts: BrokerParts) {
  const { settings, defaults, clock, time, random, newId, randomToken, log, vault, store, cloud, audit } =
    parts
  const { ledger, journal, tokens: document } = parts.state
  const events = createEvents({ clock, log, epoch: newId() })
  const keeper = createKeyKeeper({ vault, ledger, clock: time.clock, log: log.child({ part: 'keys' }) })
  // Before anybody listens: what is served is decided only once renames and logins are recovered.
  await keeper.load()
  const credentials = createCredentials({
    store,
    keeper,
    events,
    clock,
    defaults,
    log: log.child({ part: 'credentials' }),
    renewsAt: (item) => renewalMoment(keeper, item),
  })
  const settle = () => credentials.settle()
  const { identifyProcess } = parts
  const tokens = createTokens({ document, clock, newId, randomToken, identifyProcess })

  const rotator = createKeyRotator({
    keeper,
    vault,
    cloud,
    events,
    clock: time.clock,
    newId,
    journal,
    random,
    log: log.child({ part: 'rotation' }),
    hostname: parts.hostname,
    lifetimeMs: settings['renewal.key_lifetime'],
    isTimeSure: time.isFresh,
  })
  const acceptLogin = createAcceptLogin({
    keeper,
    store,
    rotator,
    events,
    audit,
    clock: time.clock,
    newId,
    settle,
    journal,
    log: log.child({ part: 'login' }),
  })
  return { events, journal, keeper, credentials, settle, tokens, rotator, acceptLogin }
}

type Features = ReturnType<typeof createFeatures>

/** Renewal, logins, changes of profiles, and the idle exit. */
function createFeatures(parts: BrokerParts, core: Core) {
  const { settings, defaults, clock, time, random, newId, log, vault, store, cloud, audit } = parts
  const { events, journal, keeper, credentials, settle, tokens, rotator, acceptLogin } = core
  const retireAfterMs = settings['renewal.retire_after']
  const now = () => clock.now()
  const renewal = createRenewal({
    keeper,
    credentials,
    vault,
    cloud,
    rotator,
    journal,
    events,
    time,
    clock,
    settle,
    newId,
    ...defined({ retireAfterMs }),
    random,
    log: log.child({ part: 'renewal' }),
  })
  const stopNotifying = notifyPeople({ events, notify: parts.notify })

  const files = { store, keeper, credentials, events }
  const profiles = createProfileAdmin({ ...files, cloud, defaults, newId, settle, journal, now })
  const minder = createProfileMinder({
    ...files,
    audit,
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
    hasOwnLogLevel: () => log.level() !== settings['log.level'],
    leave: () => parts.onShutdown('idle'),
    credentials,
    keeper,
    vault,
    logins,
    journal,
    renewal,
    time,
    listeners: parts.listeners,
    ...defined({ retireAfterMs }),
  })
  return { renewal, stopNotifying, profiles, minder, mindJobs, logins, idle }
}

/** The parts of the HTTP API. */
function createAppParts(parts: BrokerParts, core: Core, features: Features): AppDeps {
  const { clock, time, log, audit, vault, store, cloud, facts, agent } = parts
  const { events, keeper, credentials, settle, tokens } = core
  const { renewal, profiles, logins, idle } = features
  const startedAt = clock.now()
  const listeners = () => parts.listeners
  const notices = () => parts.state.notices
  const inspection = createInspection({
    credentials,
    vault,
    logins,
    renewal: renewal.admin,
    notices: () => [...notices(), ...lateKeyNotices(logins.ports()), ...idle.notices()],
    daemon: () => ({ ...facts, startedAt, logLevel: log.level() }),
    listeners,
    examinations: [
      ...planExaminations({
        credentials,
        cloud,
        vault,
        notices,
        listeners,
        clockSkewMs: time.skewMs,
        auditProblem: () => audit.problem(),
        now: () => clock.now(),
      }),
      planRenewalExamination({ credentials, renewal: renewal.admin }),
      ...idle.examinations,
    ],
  })
  const keys = { credentials, keeper, cloud }
  const renew = renewal.renewIfDue
  const onRejected = createProxyRejection({
    ...keys,
    events,
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
    workspaces: createWorkspaceAdmin({ ...keys, store, settle }),
    keys: createKeyAdmin(keys),
    vault: createVaultAdmin({ vault, keeper, events, settle }),
    way: { dispatcherFor: agent.dispatcherFor, onRejected },
    findCaller: parts.findCaller,
    setLogLevel: (level) => log.setLevel(level),
    shutdown: () => parts.onShutdown('asked'),
  }
}
