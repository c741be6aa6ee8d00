/** The reviewed table, operations of Prefect Cloud that Prefect's clients call and no self-hosted server has. */
import type { Effect } from '../wire/kinds.js'

/**
 * None of these can be tried on a server of our own. The reads are therefore limited to what the clients need, and are GETs
 * or filters, which change nothing on any server that could be tried.
 */
export const CLOUD_OPERATIONS: Readonly<Record<Effect, readonly string[]>> = {
  reads: [
    // The workspace itself.
    'GET /',
    // Who the key belongs to, and where it may go: every `prefect cloud` command asks.
    'GET /me',
    'GET /me/accounts',
    'GET /me/workspaces',
    'GET /accounts/{account}',
    'GET /accounts/{account}/events/out',
    'GET /accounts/{account}/ip_allowlist',
    'GET /accounts/{account}/ip_allowlist/my_access',
    'GET /accounts/{account}/settings',
    'GET /accounts/{account}/workspaces',
    'POST /accounts/{account}/workspaces/count',
    'POST /accounts/{account}/workspaces/filter',
    // Assets and the types of work pools, listed by the command line.
    'POST /assets/filter',
    'GET /collections/work_pool_types',
  ],
  runs: [],
  works: [],
  deploys: [
    'POST /deployments/{id}/branch',
    'POST /slas/apply-resource-slas/{resource_id}',
    'POST /webhooks/',
    // These two only read, but whoever knows the address of a webhook can send events to it, and events trigger automations.
    'POST /webhooks/filter',
    'GET /webhooks/{id}',
    'PATCH /webhooks/{id}',
    'PUT /webhooks/{id}',
  ],
  administers: [
    'PATCH /accounts/{account}/settings',
    'PUT /accounts/{account}/ip_allowlist',
    'DELETE /assets/key',
    'DELETE /webhooks/{id}',
    'POST /webhooks/{id}/rotate',
  ],
}
