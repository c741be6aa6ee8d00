/** Metrics in Prometheus format: answers, hand-outs, profiles and proxy traffic. */

import type { Desk } from '../../asks/desk.js'
import type { Guard } from '../../http/guard.js'
import type { Crowd } from '../../http/places.js'
import type { ApiServer } from '../../http/schema.js'
import type { ProxyTraffic } from '../../proxy/traffic.js'
import type { Credentials, ProfileState } from '../../serve/credentials.js'
import { SECOND_MS } from '../../std/clock.js'
import { defined } from '../../std/defined.js'
import { type Caller, type Door, reachesProfile } from '../../tokens/access.js'
import type { ProxyTrafficView } from '../../wire/credentials.js'
import { renderTime, seesAll, visibleStates } from '../view.js'

interface MetricFamily {
  readonly name: string
  readonly type: 'counter' | 'gauge'
  readonly help: string
  readonly samples: readonly (readonly [Readonly<Record<string, string>>, number])[]
}

type DoorCrowd = Crowd & { readonly door: Door }

export interface Metrics {
  /** `route` is the pattern, never the path: callers can invent paths. */
  answered(method: string, route: string, status: number): void
  handedOut(profile: string): void
  /** Shows only the profiles in `states`, and the traffic given. */
  render(
    states: readonly ProfileState[],
    traffic: readonly ProxyTraffic[],
    crowds: readonly DoorCrowd[],
    asks: number | undefined,
  ): string
}

interface MetricsParts {
  readonly credentials: Credentials
  readonly guard: Guard
  readonly metrics: Metrics
  readonly proxyTraffic: () => readonly ProxyTraffic[]
  readonly crowds: () => readonly DoorCrowd[]
  readonly desk: Pick<Desk, 'asks'>
}

export function metricsRoutes(
  api: ApiServer,
  { credentials, guard, metrics, proxyTraffic, crowds, desk }: MetricsParts,
): void {
  api.get(
    '/metrics',
    {
      config: { needs: 'inspect', summary: 'Metrics in Prometheus format', produces: 'text/plain' },
    },
    async (request, reply) => {
      const caller = guard.callerOf(request)
      const text = metrics.render(
        visibleStates(caller, credentials),
        visibleTraffic(proxyTraffic(), caller),
        // Names of tokens are for whoever sees all.
        seesAll(caller) ? crowds() : [],
        seesAll(caller) ? desk.asks.count() : undefined,
      )
      return reply.type('text/plain; version=0.0.4; charset=utf-8').send(text)
    },
  )
}

export function createMetrics(): Metrics {
  const requests = new Map<string, number>()
  const handedOut = new Map<string, number>()
  const count = (counts: Map<string, number>, key: string) => counts.set(key, (counts.get(key) ?? 0) + 1)
  return {
    answered: (method, route, status) => {
      count(requests, `${method} ${status} ${route}`)
    },
    handedOut: (profile) => {
      count(handedOut, profile)
    },
    render(states, traffic, crowds, asks) {
      const families = [
        up(),
        requestFamily(requests),
        handedOutFamily(handedOut, states),
        ...gauges(states),
        ...trafficFamilies(traffic),
        ...crowdFamilies(crowds),
        ...askFamilies(asks),
      ]
      return families.map(renderFamily).join('')
    },
  }
}

function askFamilies(count: number | undefined): readonly MetricFamily[] {
  if (count === undefined) return []
  const help = 'Requests that wait for a yes of the owner.'
  return [{ name: 'prefect_auth_asks', type: 'gauge', help, samples: [[{}, count]] }]
}

function up(): MetricFamily {
  return { name: 'prefect_auth_up', type: 'gauge', help: 'The daemon is running.', samples: [[{}, 1]] }
}

function requestFamily(requests: ReadonlyMap<string, number>): MetricFamily {
  return {
    name: 'prefect_auth_requests_total',
    type: 'counter',
    help: 'Answered requests.',
    samples: [...requests].map(([key, value]) => {
      const [method = '', status = '', route = ''] = key.split(' ')
      return [{ route, method, status }, value] as const
    }),
  }
}

function handedOutFamily(
  handedOut: ReadonlyMap<string, number>,
  states: readonly ProfileState[],
): MetricFamily {
  return {
    name: 'prefect_auth_credentials_handed_out_total',
    type: 'counter',
    help: 'Answers with credentials in them.',
    samples: states.map(({ resolved: { name } }) => [{ profile: name }, handedOut.get(name) ?? 0] as const),
  }
}

function gauges(states: readonly ProfileState[]): readonly MetricFamily[] {
  const labelled = (value: (state: ProfileState) => number | undefined): MetricFamily['samples'] =>
    states.flatMap((state) => {
      const sample = value(state)
      return sample === undefined ? [] : [[{ profile: state.resolved.name }, sample] as const]
    })
  return [
    {
      name: 'prefect_auth_ready',
      type: 'gauge',
      help: 'Whether credentials can be served.',
      samples: labelled(({ outcome }) => (outcome.kind === 'served' ? 1 : 0)),
    },
    {
      name: 'prefect_auth_generation',
      type: 'gauge',
      help: 'Grows with every change of the credentials.',
      samples: labelled(({ generation }) => generation),
    },
    {
      name: 'prefect_auth_key_expiry_timestamp_seconds',
      type: 'gauge',
      help: 'When the key expires, in seconds since 1970.',
      samples: labelled(({ key }) => (key?.expiresAt === undefined ? undefined : key.expiresAt / SECOND_MS)),
    },
  ]
}

function renderFamily({ name, type, help, samples }: MetricFamily): string {
  const lines = samples.map(([labels, value]) => `${name}${renderLabels(labels)} ${value}\n`)
  return `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n${lines.join('')}`
}

function renderLabels(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replace(/[\\"]/g, '\\$&').replaceAll('\n', '\\n')
}

/** The lines that the caller may see. */
export function visibleTraffic(traffic: readonly ProxyTraffic[], caller: Caller): readonly ProxyTraffic[] {
  return traffic.filter(({ profile }) => reachesProfile(caller, profile))
}

export function renderTraffic(line: ProxyTraffic): ProxyTrafficView {
  return {
    profile: line.profile,
    ...defined({ token: line.token }),
    requests: line.requests,
    replays: line.replays,
    parked: line.parked,
    bytes_up: line.bytesUp,
    bytes_down: line.bytesDown,
    sockets: line.sockets,
    sockets_opened: line.socketsOpened,
    last_at: renderTime(line.lastAt),
    ...defined({ refused: line.refused.length === 0 ? undefined : [...line.refused] }),
  }
}

/** By profile and token name; the token is empty for the owner, who needs none. */
function trafficFamilies(traffic: readonly ProxyTraffic[]): readonly MetricFamily[] {
  const labels = ({ profile, token = '' }: ProxyTraffic) => ({ profile, token })
  const samples = (value: (line: ProxyTraffic) => number): MetricFamily['samples'] =>
    traffic.map((line) => [labels(line), value(line)] as const)
  const bytes = traffic.flatMap((line) => [
    [{ ...labels(line), direction: 'up' }, line.bytesUp] as const,
    [{ ...labels(line), direction: 'down' }, line.bytesDown] as const,
  ])
  const counter = (name: string, help: string, samples: MetricFamily['samples']) =>
    ({ name: `prefect_auth_proxy_${name}_total`, type: 'counter', help, samples }) as const
  const requests = samples((line) => line.requests)
  const replays = samples((line) => line.replays)
  const parked = samples((line) => line.parked)
  const opened = samples((line) => line.socketsOpened)
  return [
    counter('requests', 'Requests through the proxy.', requests),
    counter('replays', 'Requests sent a second time, with a newer key.', replays),
    counter('parked', 'Requests answered with 503 because there was no valid key or no Prefect.', parked),
    counter('bytes', 'Bytes of bodies and frames, by direction.', bytes),
    counter('sockets_opened', 'WebSockets opened.', opened),
    {
      name: 'prefect_auth_proxy_sockets',
      type: 'gauge',
      help: 'WebSockets open now.',
      samples: samples((line) => line.sockets),
    },
  ]
}

/** By listener and token name; the token is empty for connections that have shown none. */
function crowdFamilies(crowds: readonly DoorCrowd[]): readonly MetricFamily[] {
  return [
    {
      name: 'prefect_auth_connections',
      type: 'gauge',
      help: 'Open connections of listeners that require a token.',
      samples: crowds.flatMap(({ door: listener, strangers, tokens }) => [
        [{ listener, token: '' }, strangers] as const,
        ...tokens.map(([token, count]) => [{ listener, token }, count] as const),
      ]),
    },
    {
      name: 'prefect_auth_connections_closed_total',
      type: 'counter',
      help: 'Connections closed to make room for others.',
      samples: crowds.flatMap(({ door: listener, closed }) => [
        [{ listener, of: 'strangers' }, closed.strangers] as const,
        [{ listener, of: 'tokens' }, closed.tokens] as const,
      ]),
    },
  ]
}
