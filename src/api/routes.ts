/** Puts every route on the server. One file per noun stands in `routes/`. */

import type { ApiServer } from '../http/schema.js'
import { auditRoutes } from './audit.js'
import type { RouteContext } from './context.js'
import { credentialsRoutes } from './credentials-part.js'
import { daemonRoutes } from './daemon.js'
import { proxyEnvRoutes } from './env.js'
import { envRoutes } from './env-part.js'
import { eventRoutes } from './events-part.js'
import { healthRoutes } from './health.js'
import { keyRoutes } from './keys.js'
import { loginRoutes } from './logins.js'
import { logoutRoutes } from './logout.js'
import { openapiRoutes } from './openapi-part.js'
import { profileRoutes } from './profiles.js'
import { renewalRoutes } from './renewal.js'
import { statusRoutes } from './status-part.js'
import { tokenRoutes } from './tokens.js'
import { vaultRoutes } from './vault.js'
import { workspaceRoutes } from './workspaces.js'

/** In the order of the documentation. */
export function registerRoutes(api: ApiServer, context: RouteContext): void {
  const nouns = [
    credentialsRoutes,
    envRoutes,
    proxyEnvRoutes,
    statusRoutes,
    profileRoutes,
    workspaceRoutes,
    loginRoutes,
    logoutRoutes,
    keyRoutes,
    renewalRoutes,
    tokenRoutes,
    eventRoutes,
    auditRoutes,
    vaultRoutes,
    daemonRoutes,
    healthRoutes,
    openapiRoutes,
  ]
  for (const register of nouns) register(api, context)
}
