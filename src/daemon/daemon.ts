/** The composition root: builds every part, in order, and closes them in reverse. */

import { createJobMinder } from '../admin/age-jobs.js'
import { createProfileMinder } from '../admin/follow-profiles.js'
import { createKeyAdmin } from '../admin/keys.js'
import { createProfileAdmin } from '../admin/profiles.js'
import { recoverRenames } from '../admin/rename.js'
import { createVaultAdmin } from '../admin/vault.js'
import { createWorkspaceAdmin } from '../admin/workspaces.js'
import { buildApp } from '../api/app.js'
import { openAuditFile } from '../audit/open-audit.js'
import { createEvents } from '../base/events.js'
import { createKeyKeeper } from '../keys/keeper.js'
import { createKeyRotator } from '../keys/rotate.js'
import { createAcceptLogin } from '../login/accept.js'
import { createLoginSessions } from '../login/sessions.js'
import { findLoginTarget } from '../login/target.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { createProcessIdentifier } from '../os/proc.js'
import { takeStateLock } from '../os/state-lock.js'
import { openJobAgent } from '../prefect/agent.js'
import { cloudDefaults, openCloudFromEnv } from '../prefect/open-cloud.js'
import { createServerTime } from '../prefect/server-time.js'
import { openProfileStore } from '../profiles/open-profiles.js'
import { createProxyRejection } from '../proxy/rejection.js'
import { renewalMoment } from '../renewal/due.js'
import { createRenewal, type Renewal } from '../renewal/renewal.js'
import { createCredentials } from '../serve/serve.js'
import { planExaminations, planRenewalExamination } from '../status/doctor.js'
import { notifyPeople } from '../status/notify.js'
import { createDesktopNotifier } from '../status/notify-desktop.js'
import type { DaemonFacts, StatusSnapshot } from '../status/status.js'
import { createInspection } from '../status/status.js'
import { defined } from '../std/defined.js'
import { startTicking } from '../std/tick.js'
import type { ListenerFacts } from '../tokens/access.js'
import { createTokens } from '../tokens/issue.js'
import { openDoors } from './doors.js'
import { createIdleExit } from './idle.js'
import type { DaemonOptions } from './options.js'
import { openDaemonVault } from './options.js'
import { openState } from './state.js'

export interface Daemon {
  snapshot(): StatusSnapshot
  close(): Promise<void>
}

const CONFIRM_MS = 10 * 60_000
const TICK_MS = 30_000
/** How often what is left in the journal is looked at again. */
const RECOVER_MS = 10 * 60_000

/** Rejects, with everything closed again, where a part can't be opened: the error says which and what helps. */
export async function startDaemon(options: DaemonOptions): Promise<Daemon> {
  const closers: (() => Promise<unknown> | undefined)[] = []
  const close = async () => {
    for (const closer of closers.splice(0).reverse()) await closer()
  }
  try {
    const snapshot = await build(options, (closer) => closers.push(closer))
    return { snapshot, close }
  } catch (error) {
    await close()
    throw error
  }
}

type OnClose = (closer: () => Promise<unknown> | undefined) => void

async function build(options: DaemonOptions, onClose: OnClose): Promise<() => StatusSnapshot> {
  const { settings, paths, clock, log, newId } = options
  const defaults = cloudDefaults(options.env)
  await ensurePrivateDirectory(paths.stateDir)
  const lock = await takeStateLock({ stateDir: paths.stateDir, clock, newId })
  onClose(() => lock.release())
  const state = await openState({ stateDir: paths.stateDir, clock, log: log.child({ part: 'state' }) })
  const { journal } = state
  const audit = openAuditFile({ stateDir: paths.stateDir, clock, log: log.child({ part: 'audit' }) })
  onClose(() => audit.close())
  const events = createEvents({ clock, log, epoch: newId() })
  const vault = await openDaemonVault(options)
  onClose(() => vault.close())
  const time = createServerTime(clock)
  const cloud = openCloudFromEnv(options.env, {
    clock,
    random: options.random,
    log: log.child({ part: 'cloud' }),
    userAgent: `prefect-auth-broker/${options.version}`,
    onServerDate: time.note,
  })
  const store = await openProfileStore({
    path: paths.profilesFile,
    clock,
    log: log.child({ part: 'profiles' }),
  })
  onClose(() => store.close())

  const keeper = createKeyKeeper({
    vault,
    ledger: state.ledger,
    clock: time.clock,
    log: log.child({ part: 'keys' }),
  })
  await keeper.load()
  const later: { renewal?: Renewal } = {}
  const credentials = createCredentials({
    store,
    keeper,
    events,
    clock,
    defaults,
    log: log.child({ part: 'credentials' }),
    renewsAt: (item) => renewalMoment(keeper, item),
    onUse: () => later.renewal?.glance(),
  })
  onClose(() => credentials.close())
  const settle = () => credentials.settle()
  const tokens = createTokens({
    document: state.tokens,
    clock,
    newId,
    randomToken: options.randomToken,
    identifyProcess: createProcessIdentifier({ clock, platform: options.process.platform }),
  })
  await tokens.resume()
  onClose(() => tokens.close().catch((error: unknown) => log.warn({ error }, 'tokens were not written')))
  const rotator = createKeyRotator({
    keeper,
    vault,
    cloud,
    events,
    clock: time.clock,
    newId,
    journal,
    random: options.random,
    log: log.child({ part: 'rotation' }),
    hostname: options.process.hostname,
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
  await recoverRenames({ store, keeper, journal, newId }, log)
  await acceptLogin.recover()
  await settle()

  const retireAfterMs = settings['renewal.retire_after']
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
    random: options.random,
    log: log.child({ part: 'renewal' }),
  })
  later.renewal = renewal
  const notify = createDesktopNotifier({ platform: options.process.platform, env: options.env, clock, log })
  const hush = notifyPeople({ events, notify })
  onClose(hush)

  const profiles = createProfileAdmin({
    store,
    keeper,
    credentials,
    cloud,
    events,
    defaults,
    newId,
    settle,
    journal,
    now: () => clock.now(),
  })
  const minder = createProfileMinder({
    store,
    credentials,
    keeper,
    events,
    audit,
    admin: profiles,
    log: log.child({ part: 'profiles' }),
    policy: { adopt: settings['profiles.adopt'], mirror: settings['profiles.mirror'] },
  })
  onClose(() => minder.close())
  const logins = createLoginSessions({
    clock,
    cloud,
    events,
    newId,
    log: log.child({ part: 'login' }),
    newState: options.randomToken,
    target: (profile) => findLoginTarget({ store, keeper, defaults }, profile),
    openCallback: async (request) => (await import('../login/callback.js')).openLoginCallback(request),
    keep: acceptLogin.keep,
    policy: {
      timeoutMs: settings['login.timeout'],
      confirmMs: CONFIRM_MS,
      stateInPath: settings['login.state_in_path'],
    },
  })
  onClose(() => logins.close())
  const mindJobs = createJobMinder({ tokens, credentials, audit, clock, log: log.child({ part: 'jobs' }) })
  const listeners: ListenerFacts[] = []
  const notices = () => state.notices
  const idle = createIdleExit(options, {
    credentials,
    keeper,
    vault,
    logins,
    journal,
    renewal,
    time,
    listeners,
    ...defined({ retireAfterMs }),
  })
  const inspection = createInspection({
    credentials,
    vault,
    logins,
    renewal: renewal.admin,
    notices: () => [...notices(), ...idle.notices()],
    daemon: () => daemonFacts(options, startedAt),
    listeners: () => listeners,
    examinations: [
      ...planExaminations({
        credentials,
        cloud,
        vault,
        notices,
        listeners: () => listeners,
        clockSkewMs: time.skewMs,
        auditProblem: () => audit.problem(),
        now: () => clock.now(),
      }),
      planRenewalExamination({ credentials, renewal: renewal.admin }),
      ...idle.examinations,
    ],
  })
  const startedAt = clock.now()
  const agent = openJobAgent(options.env)
  onClose(() => agent.close())
  const onRejected = createProxyRejection({
    credentials,
    keeper,
    cloud,
    events,
    clock,
    renew: renewal.renewIfDue,
    log: log.child({ part: 'proxy' }),
  })
  const app = await buildApp({
    way: { dispatcherFor: agent.dispatcherFor, onRejected },
    clock,
    audit,
    events,
    tokens,
    credentials,
    profiles,
    logins,
    inspection,
    renewal: renewal.admin,
    serviceAccounts: renewal.serviceAccounts,
    version: options.version,
    log: log.child({ part: 'http' }),
    workspaces: createWorkspaceAdmin({ credentials, cloud, keeper, store, settle }),
    keys: createKeyAdmin({ credentials, cloud, keeper }),
    vault: createVaultAdmin({ vault, keeper, events, settle }),
    setLogLevel: (level) => log.setLevel(level),
    shutdown: () => options.onShutdown('asked'),
  })
  onClose(() => app.close())
  await openDoors(options, app, listeners)

  // What needs the network comes after the doors are open: a start never waits for Prefect.
  const look = async () => {
    await keeper.retryFailed()
    await store.refresh()
    await minder.look()
    await mindJobs(TICK_MS)
  }
  const ticking = startTicking({ clock, everyMs: TICK_MS, log, run: look })
  onClose(() => ticking.close())
  const recover = async () => {
    await acceptLogin.recover()
    await renewal.recover()
    await minder.look()
  }
  const recovering = startTicking({ clock, everyMs: RECOVER_MS, log, run: recover })
  const recovered = recover().catch((error: unknown) =>
    log.error({ error }, 'the state could not be settled after the start'),
  )
  onClose(() => Promise.all([recovering.close(), recovered]))
  // A tick never waits for Prefect: the next one must see the clock again in time.
  const renew = async () => void renewal.tick()
  const renewing = startTicking({ clock, everyMs: TICK_MS, log, run: renew })
  const renewed = recovered.then(renew)
  void renewed.then(() => idle.watch(app))
  onClose(() => Promise.all([renewing.close(), renewed.then(() => renewal.close())]))
  // First of all: whatever waits for Prefect ends when Prefect is no longer asked; a key being made gets its time.
  onClose(() => cloud.close())
  onClose(async () => events.emit('daemon.stopping'))
  onClose(async () => idle.close())
  events.emit('daemon.started', { facts: { version: options.version } })
  return inspection.status
}

function daemonFacts(
  { version, process: runtime, paths, configFile, log }: DaemonOptions,
  startedAt: number,
): DaemonFacts {
  return {
    version,
    pid: runtime.pid,
    startedAt,
    node: runtime.node,
    stateDir: paths.stateDir,
    logLevel: log.level(),
    ...defined({ configFile }),
  }
}
