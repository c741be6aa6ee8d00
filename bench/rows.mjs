// The rows of the one table: what is measured, in which unit, beside whom, and what we want. Nothing runs here.

/** What a user would run instead of our proxy; nginx is the ceiling. */
const PROXIES = ['nginx', 'HAProxy', 'Go ReverseProxy', 'Caddy', 'reply-from', 'http-proxy']
/** What a user would ask for a secret instead. A constant does no work but HTTP. */
const KEPT = ['nginx constant', 'Go net/http', 'OpenBao agent', 'oidc-agent', 'ssh-agent']
const EACH = [...KEPT, 'git credential-cache']

/** At most, at least `limit` times what `beside` has. */
const most = (limit, beside) => ({ limit, beside, isMost: true })
const least = (limit, beside) => ({ limit, beside, isMost: false })
/** At most so many of the row's unit. */
const atMost = (limit) => ({ limit, isMost: true })

/**
 * `beside`: the ceiling first, then the peers. `group` is the subject that measures the row (measure.mjs). `isDrawn`: the
 * row is in the picture.
 */
export const ROWS = [
  {
    ...{ id: 'post', group: 'proxied', what: 'proxied POST over TLS, 16 callers', unit: 'µs of CPU' },
    ...{ beside: PROXIES, goals: [most(3, 'nginx'), most(0.9, 'Go ReverseProxy')], isDrawn: true },
  },
  {
    ...{ id: 'rate', group: 'proxied', what: 'the same', unit: 'requests/s', isMoreBetter: true },
    ...{ beside: PROXIES, goals: [least(0.5, 'nginx')], isDrawn: true },
  },
  {
    ...{ id: 'down', group: 'proxied', what: 'proxied 10 MB down', unit: 'µs of CPU per MB' },
    ...{ beside: PROXIES, goals: [most(1.3, 'nginx')], isDrawn: true },
  },
  {
    ...{ id: 'up', group: 'proxied', what: 'proxied 10 MB up', unit: 'µs of CPU per MB' },
    ...{ beside: PROXIES, goals: [most(1.6, 'nginx')] },
  },
  {
    ...{ id: 'message', group: 'proxied', what: 'proxied WebSocket message', unit: 'µs of CPU' },
    // reply-from has no WebSockets.
    ...{ beside: PROXIES.filter((name) => name !== 'reply-from'), goals: [most(2.1, 'nginx')] },
  },
  {
    ...{ id: 'unix', group: 'requests', what: '`GET /v1/credentials`, unix socket, kept alive' },
    ...{ unit: 'µs of CPU', beside: KEPT, goals: [most(1, 'Go net/http')], isDrawn: true },
  },
  {
    ...{ id: 'tcp', group: 'requests', what: '`GET /v1/credentials`, TCP with a token, kept alive' },
    ...{ unit: 'µs of CPU', beside: ['nginx constant', 'Go net/http', 'OpenBao agent'] },
    goals: [most(1.3, 'Go net/http')],
  },
  {
    ...{ id: 'each', group: 'requests', what: '`GET /v1/credentials`, unix socket, a connection each' },
    ...{ unit: 'µs of CPU', beside: EACH, goals: [most(1.7, 'Go net/http')], isDrawn: true },
  },
  {
    ...{ id: 'start', group: 'starts', what: 'start to first answer', unit: 'ms of CPU' },
    ...{ beside: ['node:http', 'Caddy', 'Go net/http'], goals: [most(2.1, 'node:http'), most(0.9, 'Caddy')] },
    isDrawn: true,
  },
  {
    ...{ id: 'start-wall', group: 'starts', what: 'the same', unit: 'ms' },
    ...{ beside: ['node:http', 'Caddy', 'Go net/http'], goals: [] },
  },
  {
    ...{ id: 'start-first', group: 'starts', what: 'the first start of a version', unit: 'ms of CPU' },
    ...{ beside: ['node:http', 'Caddy', 'Go net/http'], goals: [] },
  },
  ...idleRows(),
  {
    ...{ id: 'wake-ups', group: 'idle', what: 'wake-ups while idle', unit: 'a minute' },
    ...{ beside: ['node:http'], goals: [atMost(3)] },
  },
  {
    ...{ id: 'node-env', group: 'commands', what: '`prefect-auth env` without curl', unit: 'ms of CPU' },
    ...{ beside: ['node -e 0'], goals: [most(1.4, 'node -e 0')] },
  },
  {
    ...{ id: 'node-exec', group: 'commands', what: '`prefect-auth exec -- true` without curl' },
    ...{ unit: 'ms of CPU', beside: ['node -e 0'], goals: [most(1.4, 'node -e 0')] },
  },
  {
    ...{ id: 'sh-env', group: 'commands', what: '`prefect-auth env` with curl', unit: 'ms' },
    beside: ['curl', 'oidc-token', 'ssh-add -l', 'git credential-cache', 'bao kv get'],
    ...{ goals: [most(1.25, 'curl')], isDrawn: true },
  },
  {
    ...{ id: 'sh-exec', group: 'commands', what: '`prefect-auth exec -- true` with curl', unit: 'ms of CPU' },
    ...{ beside: ['curl'], goals: [] },
  },
  {
    ...{ id: 'sh-exported', group: 'commands', what: 'the same, `PREFECT_CLOUD_API_URL` exported' },
    ...{ unit: 'ms of CPU', beside: ['curl', 'exec without it'], goals: [most(1.1, 'exec without it')] },
  },
  {
    ...{ id: 'profiles-200', group: 'growth', what: 'first start with 200 profiles', unit: 'ms of CPU' },
    ...{ beside: ['1 profile'], goals: [most(2, '1 profile')] },
  },
  {
    ...{ id: 'profiles-1000', group: 'growth', what: 'first start with 1000 profiles', unit: 'ms of CPU' },
    ...{ beside: ['1 profile', '200 profiles'], goals: [most(5, '200 profiles')] },
  },
  {
    ...{ id: 'token', group: 'growth', what: 'a token more in a list of 3000', unit: 'ms of CPU' },
    ...{ beside: ['short list'], goals: [] },
  },
  {
    ...{ id: 'audit', group: 'audit', what: 'longest wait beside `GET /v1/audit` of 50 MB', unit: 'ms' },
    ...{
      beside: ['nothing beside it'],
      goals: [{ limit: 10, isMost: true, beside: 'nothing beside it', isMore: true }],
    },
  },
  {
    ...{ id: 'watchers', group: 'watchers', what: 'a new key to 1000 watchers, first to last', unit: 'ms' },
    ...{ beside: ['C loop'], goals: [most(3.7, 'C loop')] },
  },
  {
    ...{ id: 'watchers-cpu', group: 'watchers', what: 'the same', unit: 'µs of CPU a watcher' },
    ...{ beside: ['C loop'], goals: [] },
  },
]

/** Two memories of a process in each of the states that a user's daemon can be in. */
function idleRows() {
  const beside = ['node:http', 'OpenBao agent', 'Caddy', 'Go net/http', 'oidc-agent', 'ssh-agent']
  const states = [
    ['idle', 'idle after credentials alone, a later start', [49, 10]],
    ['idle-first', 'idle after credentials alone, the first start', [49, 10]],
    ['idle-more', 'idle after `status` as well, the first start', [58, 17]],
  ]
  return states.flatMap(([id, what, [resident, own]]) => [
    {
      ...{ id, group: 'idle', what, unit: 'MB resident', goals: [atMost(resident)] },
      ...{ beside: id === 'idle' ? beside : ['node:http'], isDrawn: id === 'idle' },
    },
    {
      ...{ id: `${id}-private`, group: 'idle', what: 'the same', unit: 'MB private', goals: [atMost(own)] },
      beside: id === 'idle' ? beside : ['node:http'],
    },
  ])
}

export const GROUPS = [...new Set(ROWS.map(({ group }) => group))]
