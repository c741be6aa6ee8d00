/** The reviewed table: which methods and operations go through the proxy before any finer policy. */

/** Everything else is answered 405: TRACE sends back what it was sent, the secret included. */
export const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const

/**
 * What Prefect's clients (2.20 to 3.9) ask for outside a workspace: they only read. `{account}` is the caller's own account,
 * any other part in braces is one segment. HEAD and OPTIONS go where GET goes.
 */
export const OUTSIDE: readonly string[] = [
  'GET /',
  'GET /health',
  'GET /ready',
  'GET /version',
  'GET /hello',
  'GET /csrf-token',
  'GET /admin/version',
  'GET /admin/settings',
  'GET /admin/storage',
  'GET /collections/views/{view}',
  'GET /collections/work_pool_types',
  'GET /me',
  'GET /me/workspaces',
  'GET /me/accounts',
  'GET /accounts/{account}',
  'GET /accounts/{account}/settings',
  'GET /accounts/{account}/ip_allowlist',
  'GET /accounts/{account}/ip_allowlist/my_access',
  'GET /accounts/{account}/events/out',
  'GET /accounts/{account}/rate-limits/usage',
  'GET /accounts/{account}/workspaces',
  'POST /accounts/{account}/workspaces/filter',
  'POST /accounts/{account}/workspaces/count',
]

/** Nouns of a server's API whose operations are only those of the list above: they belong to nobody's workspace. */
export const ABOVE: ReadonlySet<string> = new Set(['me', 'users', 'accounts', 'auth', 'admin'])

/** Below these a job may write at a self-hosted server. Other nouns it may read. */
export const WRITABLE: ReadonlySet<string> = new Set([
  'artifacts',
  'automations',
  'block_capabilities',
  'block_documents',
  'block_schemas',
  'block_types',
  'concurrency_limits',
  'deployments',
  'events',
  'flow_run_notification_policies',
  'flow_run_states',
  'flow_runs',
  'flows',
  'logs',
  'saved_searches',
  'task_run_states',
  'task_runs',
  'task_workers',
  'templates',
  'ui',
  'v2',
  'variables',
  'work_pools',
  'work_queues',
])

/** Whatever creates or reads keys, by the names in Prefect's API and by names it might get. Never allowed. */
export const KEY_NOUN = /^(?:bots|service[_-]?accounts|(?:rotate[_-])?api[_-]?keys?)/i

/** Who may enter a workspace, and whose it is: its administration, which no job needs. */
export const ADMINISTRATION =
  /^(?:(?:.*[_-])?access(?:es)?|transfer|invitations?|(?:.*[_-])?memberships?|(?:.*[_-])?roles?|(?:.*[_-])?members?|teams?|users?|actors?|sso|ip[_-]?allowlist)$/i
