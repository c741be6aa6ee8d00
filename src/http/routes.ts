/** Puts every route on the server. One file per noun stands in `routes/`. */
import type { RouteContext } from './context.js'
import { auditRoutes } from './routes/audit.js'
import { credentialsRoutes } from './routes/credentials.js'
import { daemonRoutes } from './routes/daemon.js'
import { envRoutes } from './routes/env.js'
import { eventRoutes } from './routes/events.js'
import { healthRoutes } from './routes/health.js'
import { keyRoutes } from './routes/keys.js'
import { loginRoutes } from './routes/logins.js'
import { logoutRoutes } from './routes/logout.js'
import { openapiRoutes } from './routes/openapi.js'
import { profileRoutes } from './routes/profiles.js'
import { proxyEnvRoutes } from './routes/proxy-env.js'
import { renewalRoutes } from './routes/renewal.js'
import { statusRoutes } from './routes/status.js'
import { tokenRoutes } from './routes/tokens.js'
import { vaultRoutes } from './routes/vault.js'
import { workspaceRoutes } from './routes/workspaces.js'
import type { ApiServer } from './schema.js'

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
