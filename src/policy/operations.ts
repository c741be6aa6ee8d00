/** The reviewed table of Prefect's operations: what each of them does. What is not in it, only the policy `all` lets pass. */
import { EFFECTS, type Effect } from '../wire/kinds.js'
import { CLOUD_OPERATIONS } from './cloud.js'
import { HANDSHAKE, READS } from './reads.js'

/** Sets the state of a run: how a run reports its progress, and also how clients cancel, retry and suspend one. */
export const SET_STATE = 'POST /flow_runs/{id}/set_state'

/** The operations of self-hosted servers, 2.20 to 3.9. */
export const SERVER_OPERATIONS: Readonly<Record<Effect, readonly string[]>> = {
  reads: [...READS, HANDSHAKE],

  // Starts, resumes and cancels runs of deployments that exist.
  runs: [
    'POST /deployments/{id}/create_flow_run',
    'POST /deployments/{id}/create_flow_run/bulk',
    // Makes runs out of the schedules of a deployment, also of the past.
    'POST /deployments/{id}/schedule',
    'POST /flow_runs/bulk_set_state',
    'POST /flow_runs/{id}/resume',
  ],

  // The bookkeeping of workers and of runs that have started. It is never held back for a question.
  works: [
    // A run registers its flow and itself, and reports what became of it.
    'POST /flows/',
    'POST /flow_runs/',
    'PATCH /flow_runs/{id}',
    'PATCH /flow_runs/{id}/labels',
    SET_STATE,
    'POST /task_runs/',
    'PATCH /task_runs/{id}',
    'POST /task_runs/{id}/set_state',
    'POST /logs/',
    'POST /events',
    'GET /events/in',
    'POST /artifacts/',
    'PATCH /artifacts/{id}',
    // Messages to and from runs.
    'POST /flow_runs/{id}/input',
    'DELETE /flow_runs/{id}/input/{key}',
    // Slots of concurrency limits, and their leases.
    'POST /concurrency_limits/decrement',
    'POST /concurrency_limits/increment',
    'POST /v2/concurrency_limits/decrement',
    'POST /v2/concurrency_limits/decrement-with-lease',
    'POST /v2/concurrency_limits/increment',
    'POST /v2/concurrency_limits/increment-with-lease',
    'POST /v2/concurrency_limits/leases/{lease_id}/renew',
    // Workers, runners and agents poll for runs, which marks their queues and deployments as ready.
    'POST /deployments/get_scheduled_flow_runs',
    'POST /work_pools/{name}/get_scheduled_flow_runs',
    'POST /work_queues/{id}/get_runs',
    'GET /task_runs/subscriptions/scheduled',
    'POST /work_pools/{work_pool_name}/workers/heartbeat',
    'GET /work_pools/{work_pool_name}/workers/connect',
  ],

  // Creates and changes what runs are made of.
  deploys: [
    'POST /deployments/',
    'PATCH /deployments/{id}',
    'POST /deployments/{id}/pause_deployment',
    'POST /deployments/{id}/resume_deployment',
    'POST /deployments/{id}/set_schedule_active',
    'POST /deployments/{id}/set_schedule_inactive',
    'POST /deployments/{id}/schedules',
    'PATCH /deployments/{id}/schedules/{schedule_id}',
    // A deployment that is deployed again loses the schedules and triggers that its definition no longer has.
    'DELETE /deployments/{id}/schedules/{schedule_id}',
    'DELETE /automations/owned-by/{resource_id}',
    'POST /automations/',
    'PATCH /automations/{id}',
    'PUT /automations/{id}',
    'POST /block_documents/',
    'PATCH /block_documents/{id}',
    'POST /block_schemas/',
    'POST /block_types/',
    'POST /block_types/install_system_block_types',
    'PATCH /block_types/{id}',
    'POST /concurrency_limits/',
    'POST /concurrency_limits/tag/{tag}/reset',
    'POST /flow_run_notification_policies/',
    'PATCH /flow_run_notification_policies/{id}',
    'PATCH /flows/{id}',
    'PUT /saved_searches/',
    'POST /v2/concurrency_limits/',
    'PATCH /v2/concurrency_limits/{id_or_name}',
    'POST /variables/',
    'PATCH /variables/name/{name}',
    'PATCH /variables/{id}',
    'POST /work_pools/',
    'PATCH /work_pools/{name}',
    'POST /work_pools/{work_pool_name}/queues',
    'PATCH /work_pools/{work_pool_name}/queues/{name}',
    'POST /work_queues/',
    'PATCH /work_queues/{id}',
  ],

  // Deletes what others may need, and administers the server.
  administers: [
    'POST /admin/database/clear',
    'POST /admin/database/create',
    'POST /admin/database/drop',
    'DELETE /admin/storage',
    'PUT /admin/storage',
    'DELETE /artifacts/{id}',
    'DELETE /automations/{id}',
    'DELETE /block_documents/{id}',
    'DELETE /block_schemas/{id}',
    'DELETE /block_types/{id}',
    'DELETE /concurrency_limits/tag/{tag}',
    'DELETE /concurrency_limits/{id}',
    'POST /deployments/bulk_delete',
    'DELETE /deployments/{id}',
    'DELETE /flow_run_notification_policies/{id}',
    'POST /flow_runs/bulk_delete',
    'DELETE /flow_runs/{id}',
    'POST /flows/bulk_delete',
    'DELETE /flows/{id}',
    'DELETE /saved_searches/{id}',
    'DELETE /task_runs/{id}',
    'DELETE /v2/concurrency_limits/{id_or_name}',
    'DELETE /variables/name/{name}',
    'DELETE /variables/{id}',
    'DELETE /work_pools/{name}',
    'DELETE /work_pools/{work_pool_name}/queues/{name}',
    'DELETE /work_pools/{work_pool_name}/workers/{name}',
    'DELETE /work_queues/{id}',
  ],
}

/** Those whose `GET` is the handshake of a WebSocket. */
export const WEBSOCKETS: ReadonlySet<string> = new Set([
  'GET /accounts/{account}/events/out',
  'GET /events/in',
  'GET /events/out',
  'GET /logs/out',
  'GET /task_runs/subscriptions/scheduled',
  'GET /work_pools/{work_pool_name}/workers/connect',
])

/** `METHOD /path/{template}` below the workspace of Prefect Cloud, or below the API of a server. */
export const OPERATIONS: Readonly<Record<Effect, readonly string[]>> = {
  reads: both('reads'),
  runs: both('runs'),
  works: both('works'),
  deploys: both('deploys'),
  administers: both('administers'),
}

function both(effect: Effect): readonly string[] {
  return [...SERVER_OPERATIONS[effect], ...CLOUD_OPERATIONS[effect]]
}

/** All operations of the table with their effects, from harmless to far-reaching. */
export function listOperations(): readonly (readonly [operation: string, effect: Effect])[] {
  return EFFECTS.flatMap((effect) => OPERATIONS[effect].map((operation) => [operation, effect] as const))
}
