/** The parts of a broker: opened here in order, from what the daemon was started with. */

import { type AskDesktop, createAskDesktop } from '../asks/desktop.js'
import { type Judge, judge } from '../asks/judge.js'
import { type AuditFile, openAuditFile } from '../audit/open-audit.js'
import type { Paths } from '../config/paths.js'
import type { Settings } from '../config/settings.js'
import type { ShareSettings, Shares } from '../config/shares.js'
import { recogniserState } from '../http/lane/recogniser.js'
import { itemsInUse } from '../keys/ledger.js'
import type { OpenCallback } from '../login/callback.js'
import { createFindCaller, type FindCaller } from '../os/callers.js'
import { createFindPeer, createLook, type FindPeer, type Look } from '../os/peer-finder.js'
import { ensurePrivateDirectory } from '../os/private-files.js'
import { createProcessIdentifier } from '../os/proc.js'
import type { PageDocument } from '../page/document.js'
import type { AccountApi } from '../prefect/account.js'
import type { CloudApi, CloudDefaults } from '../prefect/cloud.js'
import { cloudDefaults, openCloudFromEnv } from '../prefect/open-cloud.js'
import { createServerTimes, type ServerTimes } from '../prefect/server-time.js'
import { createConnections } from '../profiles/connections.js'
import { openProfileStore } from '../profiles/open-profiles.js'
import type { ProfileStore } from '../profiles/profile.js'
import type { ProxyWay } from '../proxy/proxy.js'
import { createReadSecret } from '../share/secret-source.js'
import type { ShareStore } from '../share/store.js'
import { openVaultStore } from '../share/vault-store.js'
import type { Notice } from '../status/notify.js'
import { createDesktopNotifier, findSessionBus } from '../status/notify-desktop.js'
import type { DaemonFacts } from '../status/status.js'
import type { Clock } from '../std/clock.js'
import { defined } from '../std/defined.js'
import { keyFingerprints } from '../std/secret.js'
import type { ListenerFacts } from '../tokens/access.js'
import { openVault } from '../vault/open-vault.js'
import type { MovableVault } from '../vault/vault.js'
import { openFingerprintKey } from './fingerprint-key.js'
import type { InheritedSockets } from './inherited-sockets.js'
import { takeLateLock } from './late-lock.js'
import type { OpenLog } from './open-log.js'
import { openState, type State } from './state.js'
import { createWakeTimer } from './wake-timer.js'

/** What a daemon is started with. */
export interface DaemonOptions {
  readonly version: string
  readonly settings: Settings
  /** `[share.NAME]` of config.toml; absent: none. */
  readonly shares?: Shares
  readonly paths: Paths
  readonly configFile?: string
  /** The daemon's environment: for the keychain child, TLS and proxies. */
  readonly env: Readonly<Record<string, string | undefined>>
  /** A command started it, and the next one does again: it exits when it is idle, without a service manager. */
  readonly isOnDemand?: boolean
  /** The process and the machine that the daemon runs in. */
  readonly host: {
    readonly pid: number
    /** Its version: `v20.19.0`. */
    readonly node: string
    readonly execPath: string
    readonly hostname: string
    readonly platform: NodeJS.Platform
    /** Absent on systems without user ids. */
    readonly uid?: number
  }
  /** Sockets that systemd opened; none without socket activation. */
  readonly inherited: InheritedSockets
  /** The bundled `keychain-child.js`, absolute. */
  readonly keychainChild: string
  /** The bundled `page.json`, absolute. */
  readonly pageFile: string
  /** Whose yes counts; absent: as `asks/judge.ts` decides. */
  readonly judge?: Judge
  readonly clock: Clock
  readonly log: OpenLog
  readonly random: () => number
  /** 12 hex digits, unique. */
  readonly newId: () => string
  /** 32 random bytes as base64url. */
  readonly randomToken: () => string
  /** The owner asked the daemon to stop; or it is idle, and its listeners are closed. */
  readonly onShutdown: (why: 'asked' | 'idle') => void
}

/** What a broker is made of. Whoever opened the parts closes them, after the broker. */
export interface BrokerParts {
  readonly settings: Settings
  /** What `status` says about the daemon and never changes. */
  readonly facts: Omit<DaemonFacts, 'startedAt' | 'logLevel'>
  /** Part of the names of minted keys. */
  readonly hostname: string
  /** Cloud endpoints of a profile that names none. */
  readonly defaults: CloudDefaults

  readonly clock: Clock
  /** Prefect's time, one per origin; `cloud` tells the date of every answer that is Prefect's own. */
  readonly times: ServerTimes
  readonly random: () => number
  /** 12 hex digits, unique. */
  readonly newId: () => string
  /** 32 random bytes as base64url. */
  readonly randomToken: () => string
  readonly log: OpenLog

  readonly state: State
  readonly audit: AuditFile
  readonly vault: MovableVault
  readonly store: ProfileStore
  readonly cloud: CloudApi & AccountApi
  /** How requests of jobs reach Prefect. */
  readonly agent: Pick<ProxyWay, 'dispatcherFor'>
  readonly openCallback: OpenCallback
  /** The shares of config.toml, and how their stores are opened; absent: none. */
  readonly shares?: { readonly settings: Shares; readonly openStore: (settings: ShareSettings) => ShareStore }
  /** Shows a desktop notification. Never rejects. */
  readonly notify: (notice: Notice) => Promise<void>
  /** Shows a question there, with buttons. */
  readonly askDesktop: AskDesktop
  /** Names a running process so that a later one with the same pid has another name; `undefined`: not running. */
  readonly identifyProcess: (pid: number) => Promise<string | undefined>
  /** Program, pid and parents at the other end of a connection. */
  readonly findCaller: FindCaller
  readonly loadPage: () => Promise<PageDocument>
  /** The process at the other end of a connection, with its ancestors. */
  readonly findPeer: FindPeer
  /** As `findPeer`, for whatever may be asked. */
  readonly look: Look
  /** Whose yes counts. */
  readonly judge: Judge
  /** When systemd starts the daemon again, epoch ms; `undefined`: never. */
  readonly wakeTimer: () => Promise<number | undefined>

  /** Listeners appear in it when they are opened. */
  readonly listeners: readonly ListenerFacts[]
  /** The owner asked the daemon to stop; or it is idle, and its listeners are closed. */
  readonly onShutdown: (why: 'asked' | 'idle') => void
}

/** Opens all parts but the agent. Rejects if one cannot be opened; `onClose` has the closers of those before it. */
export async function openParts(
  options: DaemonOptions,
  listeners: readonly ListenerFacts[],
  onClose: (closer: () => Promise<unknown>) => void,
): Promise<Omit<BrokerParts, 'agent'>> {
  const {
    version,
    settings,
    paths,
    configFile,
    isOnDemand,
    host,
    env,
    clock,
    random,
    newId,
    randomToken,
    log,
  } = options
  const { stateDir } = paths
  await ensurePrivateDirectory(stateDir)
  const lock = await takeLateLock({ stateDir, clock, newId })
  onClose(() => lock.release())
  keyFingerprints(await openFingerprintKey(stateDir, log.child({ part: 'state' })))
  const trace = `${paths.socket}.unclean`
  const state = await openState({ stateDir, clock, log: log.child({ part: 'state' }), trace, lock })
  onClose(() => state.close())
  const audit = openAuditFile({ stateDir, clock, log: log.child({ part: 'audit' }) })
  onClose(() => audit.close())
  const vault = await openDaemonVault(options, itemsInUse(state.ledger.read()).length)
  onClose(() => vault.close())
  const times = createServerTimes(clock)
  const defaults = cloudDefaults(env)
  const store = await openProfileStore({
    path: paths.profilesFile,
    keepIn: stateDir,
    clock,
    log: log.child({ part: 'profiles' }),
  })
  onClose(() => store.close())
  const cloud = openCloudFromEnv(env, {
    clock,
    random,
    log: log.child({ part: 'cloud' }),
    userAgent: `prefect-auth-broker/${version}`,
    connectionOf: createConnections({ store, defaults }),
    onServerDate: (url, serverAt, receivedAt) => times.of(url).note(serverAt, receivedAt),
  })
  const peers = { clock, platform: host.platform, helper: paths.peers, uid: host.uid }
  const look = createLook(peers)
  return {
    settings,
    facts: {
      ...{ version, pid: host.pid, node: host.node, stateDir },
      recogniser: recogniserState(settings['listen.recogniser'], host.node),
      ...defined({ configFile, isOnDemand }),
    },
    hostname: host.hostname,
    defaults,
    clock,
    times,
    random,
    newId,
    randomToken,
    log,
    state,
    audit,
    vault,
    store,
    cloud,
    openCallback: async (request, options) =>
      (await import('../login/callback.js')).openLoginCallback(request, options),
    shares: {
      settings: options.shares ?? {},
      openStore: (settings) => openVaultStore({ settings, readSecret: createReadSecret(env, vault), clock }),
    },
    notify: createDesktopNotifier({ platform: host.platform, env, clock, log }),
    identifyProcess: createProcessIdentifier({ clock, platform: host.platform }),
    askDesktop: createAskDesktop({
      ...{ uid: host.uid, clock, log, look },
      findBus: () => findSessionBus(env),
    }),
    look,
    findPeer: createFindPeer(peers),
    judge: options.judge ?? judge,
    findCaller: createFindCaller({ clock, platform: host.platform, helper: paths.callers, uid: host.uid }),
    loadPage: async () => (await import('../page/document.js')).loadPageDocument(options.pageFile),
    wakeTimer: createWakeTimer({ env, clock }),
    listeners,
    onShutdown: options.onShutdown,
  }
}

/** Rejects as `openVault` does. */
function openDaemonVault(
  { settings, paths, keychainChild, host: { execPath }, env, clock, log }: DaemonOptions,
  namedItems: number,
): Promise<MovableVault> {
  const passphraseFile = settings['vault.passphrase_file']
  return openVault({
    settings: {
      backend: settings['vault.backend'],
      keyWrap: settings['vault.key_wrap'],
      ...defined({ passphraseFile }),
    },
    stateDir: paths.stateDir,
    namedItems,
    childPath: keychainChild,
    execPath,
    env,
    clock,
    log: log.child({ part: 'vault' }),
  })
}
