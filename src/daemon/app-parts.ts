/** What the HTTP API is made of. */

import { createKeyAdmin } from '../admin/keys.js'
import { createServiceAccountDirectory } from '../admin/service-accounts.js'
import { createTransfer } from '../admin/transfer.js'
import { createVaultAdmin, vaultItems } from '../admin/vault.js'
import { createWorkspaceAdmin } from '../admin/workspaces.js'
import type { AppDeps } from '../api/context.js'
import { noticesOfAsks } from '../asks/asks.js'
import { createDesk } from '../asks/desk.js'
import { lateKeyNotices } from '../login/ports.js'
import { askServer } from '../prefect/server.js'
import { createAuthorizer } from '../proxy/headers.js'
import { createProxyRejection } from '../proxy/rejection.js'
import { createUpstreamRead } from '../proxy/upstream-read.js'
import { createShareSecrets } from '../share/secrets.js'
import { planConnectionExamination } from '../status/connections.js'
import { planExaminations, planRenewalExamination } from '../status/doctor.js'
import { noticesOfFiles, planFileExamination } from '../status/files.js'
import { noticesOfJobs, planJobExamination } from '../status/jobs.js'
import { planShareExamination } from '../status/shares.js'
import { createInspection } from '../status/status.js'
import { defined } from '../std/defined.js'
import { openExport, sealExport } from '../vault/export.js'
import { requireStrong } from '../vault/passphrase.js'
import type { Core } from './core.js'
import type { Features } from './features.js'
import type { BrokerParts } from './open-parts.js'

/** The parts of the HTTP API. */
export function createAppParts(parts: BrokerParts, core: Core, features: Features): AppDeps {
  const { clock, times, log, audit, vault, facts, agent, settings } = parts
  const { events, keeper, cloud, credentials, settle, tokens } = core
  const { renewal, profiles, logins, files, shares, idle } = features
  const startedAt = clock.now()
  const listeners = () => parts.listeners
  const notices = () => [...parts.state.notices, ...parts.state.limits()]
  const { findPeer, findCaller, judge } = parts
  const desk = createDesk({
    ...{ clock, events, findPeer, findCaller, judge },
    findJob: async ({ pid, process }) => {
      const found = await parts.look({ pid })
      return (await parts.identifyProcess(pid)) === process ? found : undefined
    },
    random: parts.random,
    log: log.child({ part: 'asks' }),
    read: createUpstreamRead({
      dispatcherFor: agent.dispatcherFor,
      authorizer: createAuthorizer(),
      clock,
    }),
    profiles: settings['asks.profiles'],
  })
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
      ...noticesOfFiles(files.list()),
      ...noticesOfAsks(desk.asks.count()),
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
      planFileExamination(files),
      planShareExamination(shares),
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
    files,
    credentials,
    logins,
    profiles,
    inspection,
    renewal: renewal.admin,
    serviceAccounts: renewal.serviceAccounts,
    shares,
    shareSecrets: createShareSecrets({ keeper, vault }),
    serviceAccountDirectory: createServiceAccountDirectory({ ...keys, turns }),
    workspaces: createWorkspaceAdmin({ ...keys, changes, settle, now: () => clock.now() }),
    keys: createKeyAdmin({ ...keys, disposal, turns, times, newId: parts.newId, log }),
    vault: createVaultAdmin({
      ...{ vault, keeper, events, settle },
      itemNames: () => vaultItems(parts.state.ledger.read(), parts.state.journal.read()),
    }),
    transfer: createTransfer({
      ...{ credentials, logins, profiles, requireStrong, seal: sealExport, open: openExport },
      cloudApiUrl: parts.defaults.cloudApiUrl,
      now: () => clock.now(),
    }),
    desk,
    findPeer,
    way: { dispatcherFor: agent.dispatcherFor, onRejected },
    proxyAllow: settings['proxy.allow'],
    page: { randomToken: parts.randomToken, loadDocument: parts.loadPage },
    findCaller,
    recogniser: facts.recogniser,
    connectionClock: clock,
    setLogLevel: (level) => log.setLevel(level),
    shutdown: () => parts.onShutdown('asked'),
  }
}
