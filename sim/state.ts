/** The parts of a simulator, wired together, without the listeners. */
import { Agent } from 'node:http'
import { createApi } from './api/api.js'
import { createSimClock } from './clock.js'
import { createDirectory } from './directory.js'
import { createControls, createSwitches } from './faults/controls.js'
import { createFaults } from './faults/faults.js'
import { createKeyStore } from './keys.js'
import { createGate } from './server/gate.js'
import { createRequestLog } from './server/request-log.js'
import type { SimulatorOptions } from './simulator-types.js'
import { createUi } from './ui/ui.js'
import { createWorkspaceApi } from './workspace/api.js'
import { createWorkspaceSockets } from './workspace/sockets.js'

const FIVE_MINUTES = 300_000

export function createState(options: SimulatorOptions) {
  const clock = createSimClock(options.clock)
  const directory = createDirectory(options)
  const { deletedKeyGrace = FIVE_MINUTES, newKeyDelay = 0 } = options
  const keys = createKeyStore({ clock, deletedKeyGrace, newKeyDelay })
  const gate = createGate({ clock, keys, directory })
  gate.limit(options.requestsPerMinute)
  const switches = createSwitches(options, directory)
  const { user, backend, minting, serviceAccountAge, keepsOnePrevious, grantedOverlap } = switches

  const log = createRequestLog()
  const faults = createFaults()
  const agent = new Agent({ keepAlive: true })
  const workspaceApi = createWorkspaceApi({ directory, agent, backend })
  const { keyListing = false, autoApprove = false, callbackPath = 'keep' } = options
  return {
    clock,
    directory,
    keys,
    log,
    faults,
    agent,
    api: createApi({
      ...{ clock, directory, keys, gate, workspaceApi, keyListing, minting },
      ...{ serviceAccountAge, keepsOnePrevious, grantedOverlap },
    }),
    ui: createUi({ clock, keys, user, autoApprove, callbackPath }),
    sockets: createWorkspaceSockets({ now: clock.now, gate, workspaceApi, backend, faults, log }),
    controls: createControls({ directory, keys, gate, switches }),
  }
}
