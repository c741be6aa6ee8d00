/** A simulated Prefect Cloud: real HTTP, keys that expire, faults on demand. */
import { API_PREFIX } from './api/api.js'
import { makeCertificates } from './server/certificates.js'
import { createHandler } from './server/handler.js'
import { type Listener, openListener } from './server/listener.js'
import type { Simulator, SimulatorOptions } from './simulator-types.js'
import { createState } from './state.js'
import { deliver } from './ui/deliver.js'

export type { Simulator, SimulatorOptions } from './simulator-types.js'

/** Starts a simulator; close it when done. Rejects if the port is taken or `openssl` is missing. */
export async function startCloudSimulator(options: SimulatorOptions = {}): Promise<Simulator> {
  const state = createState(options)
  const { clock, directory, keys, ui, log, faults, sockets } = state
  const certificates = options.tls === undefined ? undefined : await makeCertificates()

  const shared = { now: clock.now, simulatedDate: options.simulatedDate ?? true, faults, log }
  const separateUi = options.tls === 'ui' || options.separateUi === true
  const apiListener = await openListener({
    port: options.port ?? 0,
    handler: createHandler({ ...shared, api: state.api, ...(separateUi ? {} : { ui }) }),
    upgrade: sockets.upgrade,
    ...(options.tls === 'all' && certificates !== undefined ? { certificates } : {}),
  })
  const uiListener = separateUi
    ? await openListener({
        port: 0,
        handler: createHandler({ ...shared, ui }),
        ...(certificates === undefined ? {} : { certificates }),
      })
    : apiListener

  const apiUrl = `${apiListener.url}${API_PREFIX}`
  const uiUrl = options.publicUiUrl ?? uiListener.url
  return {
    apiUrl,
    uiUrl,
    uiPort: uiListener.port,
    ...(certificates === undefined ? {} : { caPath: certificates.caPath }),
    clock,
    directory,
    keys,
    faults,
    requests: log.entries,
    forgetRequests: log.clear,
    ...state.controls,
    workspaceUrl(wanted) {
      const { accountId, id } = directory.workspace(wanted)
      return `${apiUrl}/accounts/${accountId}/workspaces/${id}`
    },
    closeSockets: (code, reason = '') => sockets.closeAll(code, reason),
    deliver: (loginUrl, how) => deliver({ ui, uiUrl }, loginUrl, how),
    async close() {
      sockets.close()
      state.agent.destroy()
      await Promise.all([...new Set<Listener>([apiListener, uiListener])].map((each) => each.close()))
      await certificates?.remove()
    },
  }
}
